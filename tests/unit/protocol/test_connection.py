"""The two ends joined in memory: Hello first, limits before it, and ends that do not keep to it."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.commands import CancelRequested, Hello, Ping, SubmitTask
from taskq.errors import ErrorCode, ProtocolError, Refusal, refuse
from taskq.limits import FRAME_SIZE_MAX
from taskq.protocol.codec import NO_REQUEST, Push, Rejected, Reply, Request, make_pack
from taskq.protocol.connection import HELLO_SIZE_MAX, ClientConnection, ServerConnection
from taskq.protocol.frame import pack_frame
from taskq.results import HelloReply, PingReply, Submitted, TaskView
from tests.unit.protocol.wire_values import legal_fields

HELLO_REPLY = HelloReply(
    1,
    "c",
    "n1",
    "n1",
    3,
    [["n1", "h:6379"]],
    "0.1",
    30_000,
    FRAME_SIZE_MAX,
    1 << 20,
    1 << 20,
    10,
    9,
)
TASK_ID = b"\x01" * 16
PACK = make_pack()
PING = pack_frame(0x02, msgpack.packb([1, 2, 0, []]))
HELLO = pack_frame(0x01, msgpack.packb([1, 1, 0, [[1], "test", None]]))


def _opened() -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection(), ServerConnection()
    (hello,) = server.receive(client.greet("test", None))
    assert client.receive(server.accept(hello.request_id, HELLO_REPLY)) == [Reply(1, HELLO_REPLY)]
    return client, server


def test_hello_opens_both_ends() -> None:
    client, server = ClientConnection(), ServerConnection()
    greeting = client.greet("test/1", "secret")
    (hello,) = server.receive(greeting)
    assert isinstance(hello, Request)
    assert hello.command == Hello([1], "test/1", "secret")
    assert not server.opened
    frame = server.accept(hello.request_id, HELLO_REPLY)
    assert server.opened
    assert not client.opened
    client.receive(frame)
    assert client.opened
    assert client.hello == HELLO_REPLY


def test_requests_are_numbered_and_answered_in_any_order() -> None:
    client, server = _opened()
    first, first_frame = client.request(SubmitTask(TASK_ID, "q"), 500)
    second, second_frame = client.request(Ping())
    received = server.receive(first_frame + second_frame)
    assert [(event.request_id, event.command) for event in received] == [  # type: ignore[union-attr]
        (first, SubmitTask(TASK_ID, "q")),
        (second, Ping()),
    ]
    assert received[0].deadline_ms == 500  # type: ignore[union-attr]
    answers = server.reply(0x02, second, PingReply("n1", 3)) + server.reply(
        0x10, first, refuse(ErrorCode.QUEUE_FULL, "full", 100)
    )
    assert client.receive(answers) == [
        Reply(second, PingReply("n1", 3)),
        Reply(first, Refusal("QUEUE_FULL", "full", 100)),
    ]
    assert client.receive(server.push(CancelRequested(TASK_ID, 5))) == [
        Push(CancelRequested(TASK_ID, 5))
    ]


@settings(max_examples=25)
@given(st.data())
def test_any_pieces_give_the_same_events_at_both_ends(data: st.DataObject) -> None:
    client, server = _opened()
    stream = b"".join(
        client.request(SubmitTask(*data.draw(legal_fields(SubmitTask))))[1] for _ in range(3)
    )
    stream += pack_frame(0x77, msgpack.packb([1, 99, 0, []]))
    whole = server.receive(stream)
    pieces = [stream[:7], stream[7:8], stream[8:]]
    assert [event for piece in pieces for event in server.receive(piece)] == whole
    single = [stream[at : at + 1] for at in range(len(stream))]
    assert [event for piece in single for event in server.receive(piece)] == whole
    answers = b"".join(server.reply(0x10, at, Submitted(TASK_ID)) for at in range(1, 4))
    whole_answers = client.receive(answers)
    single = [answers[at : at + 1] for at in range(len(answers))]
    assert [event for piece in single for event in client.receive(piece)] == whole_answers


@pytest.mark.parametrize("kind", [0, 0x02, 0x10, 0x60, 0x81, 0xFF])
def test_anything_before_hello_is_a_protocol_error(kind: int) -> None:
    with pytest.raises(ProtocolError, match="first frame must be Hello"):
        ServerConnection().receive(pack_frame(kind, msgpack.packb([1, 1, 0, [[1]]])))


@pytest.mark.parametrize("behind", [PING, PING[:1], PING[:6], HELLO, b"\x00"])
@pytest.mark.parametrize("whole", [True, False])
def test_whatever_follows_hello_before_its_answer_ends_the_connection(
    behind: bytes, whole: bool
) -> None:
    server = ServerConnection()
    if not whole:
        assert len(server.receive(HELLO)) == 1
    with pytest.raises(ProtocolError, match="must be awaited"):
        server.receive(HELLO + behind if whole else behind)
    assert not server.opened


def test_hello_in_pieces_and_empty_reads_are_fine() -> None:
    server = ServerConnection()
    assert server.receive(b"") == []
    for at in range(len(HELLO) - 1):
        assert server.receive(HELLO[at : at + 1]) == []
    assert len(server.receive(HELLO[-1:])) == 1
    assert server.receive(b"") == []
    server.accept(1, HELLO_REPLY)
    assert len(server.receive(PING)) == 1


def test_a_second_hello_is_a_protocol_error() -> None:
    _, server = _opened()
    with pytest.raises(ProtocolError, match="second Hello"):
        server.receive(PING + HELLO)


def test_a_wrong_hello_is_refused_and_does_not_open() -> None:
    server = ServerConnection()
    (rejected,) = server.receive(pack_frame(0x01, msgpack.packb([1, 1, 0, [[]]])))
    assert isinstance(rejected, Rejected)
    assert "versions" in rejected.refusal.message
    assert not server.opened


def test_a_stranger_can_send_no_more_than_a_hello() -> None:
    longest = Hello([255] * 16, "🚀" * 200, "🚀" * 500)
    frame = pack_frame(0x01, PACK([1, (1 << 63) - 1, 0, longest]))
    (hello,) = ServerConnection().receive(frame)
    assert isinstance(hello, Request)
    assert hello.command == longest
    with pytest.raises(ProtocolError, match=f"1..{HELLO_SIZE_MAX + 1}"):
        ServerConnection().receive((HELLO_SIZE_MAX + 2).to_bytes(4, "big") + b"\x01")
    # Once open, a frame may be as large as the protocol has it.
    _, server = _opened()
    task = PACK([1, 1, 0, SubmitTask(TASK_ID, "q", "", bytes(FRAME_SIZE_MAX - 200))])
    assert len(server.receive(pack_frame(0x10, task))) == 1


def test_a_reply_too_large_for_a_frame_becomes_a_refusal() -> None:
    client, server = _opened()
    view = TaskView(TASK_ID, 5, "q", "", 1, {}, 0, 0, 0, 0, 0, 1, 0, 0, 0, "", 1, False, "", True,
                    bytes(FRAME_SIZE_MAX), [])  # fmt: skip
    ((request_id, refusal),) = client.receive(server.reply(0x20, 7, view))
    assert request_id == 7
    assert refusal.code == "RESULT_TOO_LARGE"


def test_a_request_too_large_takes_no_number() -> None:
    client, _ = _opened()
    before, _ = client.request(Ping())
    with pytest.raises(ProtocolError):
        client.request(SubmitTask(TASK_ID, "q", "", bytes(FRAME_SIZE_MAX)))
    after, _ = client.request(Ping())
    assert after == before + 1


def test_each_client_has_its_own_packer() -> None:
    """Connections of loops in different threads must not share the buffer of one packer."""
    one, other = ClientConnection(), ClientConnection()
    assert one._pack.__self__ is not other._pack.__self__  # type: ignore[attr-defined]


def test_a_client_turned_away_gets_the_reason_and_stays_closed() -> None:
    client, server = ClientConnection(), ServerConnection()
    client.greet("test", None)
    refusal = refuse(ErrorCode.TOO_MANY_CONNECTIONS, "at most 10", 1000)
    assert client.receive(server.goodbye(refusal)) == [Reply(NO_REQUEST, refusal)]
    assert not client.opened
    assert client.hello is None


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize(
    "first",
    [
        [0x90, [1, 1, [TASK_ID]]],
        [0x70, [1, [TASK_ID, 1]]],
        [0x82, [1, 1, ["n1", 1]]],
        [0xFF, [1, 0, ["UNAVAILABLE", ""]], 0x90, [1, 1, [TASK_ID]]],
    ],
)
def test_a_node_that_does_not_answer_hello_first_is_not_believed(
    first: list[Any], pieces: int
) -> None:
    stream = b"".join(
        pack_frame(first[at], msgpack.packb(first[at + 1])) for at in range(0, len(first), 2)
    )
    client = ClientConnection()
    client.greet("test", None)
    middle = len(stream) // 2 if pieces == 2 else len(stream)
    with pytest.raises(ProtocolError, match="first answer"):  # noqa: PT012
        client.receive(stream[:middle])
        client.receive(stream[middle:])
    assert not client.opened
