"""Codec: every message there and back; what is wrong is refused with the field's name."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq import commands, results
from taskq.errors import ErrorCode, ProtocolError, Refusal
from taskq.fields import Kind, ListOf, Record, kinds_of
from taskq.limits import DURATION_MS_MAX
from taskq.protocol.codec import (
    FORMAT,
    REFUSAL_TYPE,
    Push,
    Rejected,
    Reply,
    Request,
    decode_answer,
    decode_request,
    encode_push,
    encode_reply,
    encode_request,
    make_pack,
)
from taskq.protocol.frame import FrameReader
from taskq.registry import MESSAGE_OF, MESSAGES, Message, Sort
from tests.unit.protocol.wire_values import illegal, legal, legal_fields, sample

PACK = make_pack()
REQUESTS = [row for row in MESSAGES.values() if row.sort not in (Sort.INTERNAL, Sort.PUSH)]
PUSHES = [row for row in MESSAGES.values() if row.sort is Sort.PUSH]
TASK_ID = b"\x01" * 16


def _name(value: object) -> str:
    return value.name if isinstance(value, Message) else value if isinstance(value, str) else ""


def _request(code: int, *head: Any) -> Request | Rejected:
    return decode_request(code, msgpack.packb(head))


def _cut(frame: bytes) -> tuple[int, bytes]:
    ((kind, payload),) = FrameReader().feed(frame)
    return kind, payload


@pytest.mark.parametrize("row", REQUESTS, ids=_name)
@settings(max_examples=10)
@given(data=st.data())
def test_every_request_there_and_back(row: Message, data: st.DataObject) -> None:
    fields = data.draw(legal_fields(row.shape))
    request_id = data.draw(st.integers(1, (1 << 63) - 1))
    deadline_ms = data.draw(st.integers(0, DURATION_MS_MAX))
    command = row.shape(*fields)
    frame = encode_request(PACK, command, request_id, deadline_ms)
    kind, payload = _cut(frame)
    received = decode_request(kind, payload)
    assert isinstance(received, Request)
    assert received[:4] == (request_id, row, command, deadline_ms)
    assert received.size >= len(payload)
    assert type(received.command) is row.shape


@pytest.mark.parametrize("row", REQUESTS, ids=_name)
@settings(max_examples=10)
@given(data=st.data())
def test_every_reply_there_and_back(row: Message, data: st.DataObject) -> None:
    assert row.reply is not None
    fields = data.draw(legal_fields(row.reply))
    if row.member is not None:
        good = legal_fields(row.member).map(lambda member: [True, member])
        bad = legal_fields(Refusal).map(lambda refusal: [False, refusal])
        fields = [data.draw(st.lists(good | bad, max_size=4))]
    answer = decode_answer(*_cut(encode_reply(PACK, row.code, 9, row.reply(*fields))))
    assert answer.request_id == 9  # type: ignore[union-attr]
    assert type(answer.value) is row.reply  # type: ignore[union-attr]
    assert _filled(answer.value, row.reply(*fields))  # type: ignore[union-attr]


@given(legal_fields(Refusal))
def test_a_refusal_there_and_back(fields: list[Any]) -> None:
    kind, payload = _cut(encode_reply(PACK, 0x10, 3, Refusal(*fields)))
    assert kind == REFUSAL_TYPE
    assert decode_answer(kind, payload) == Reply(3, Refusal(*fields))


@pytest.mark.parametrize("row", PUSHES, ids=_name)
@given(data=st.data())
def test_every_push_there_and_back(row: Message, data: st.DataObject) -> None:
    command = row.shape(*data.draw(legal_fields(row.shape)))
    assert decode_answer(*_cut(encode_push(PACK, command))) == Push(command)


@pytest.mark.parametrize(
    ("row", "field", "kind"),
    [(row, name, kind) for row in REQUESTS for name, kind in row.kinds.items()],
    ids=_name,
)
def test_a_wrong_field_is_refused_by_name_and_the_request_keeps_its_id(
    row: Message, field: str, kind: Kind
) -> None:
    position = list(row.kinds).index(field)
    fields = [sample(each) for each in row.kinds.values()]
    for value in illegal(kind):
        fields[position] = value
        received = decode_request(row.code, PACK([FORMAT, 77, 0, fields]))
        assert isinstance(received, Rejected), value
        assert received.request_id == 77
        assert received.refusal.code == "INVALID_REQUEST"
        assert received.refusal.message.startswith(f"{row.name}: {field}"), received.refusal


@pytest.mark.parametrize("head", [None, 1, "text", b"", {}, [], [1], [1, None], [1, True, 0, []]])
def test_without_a_request_id_there_is_nobody_to_refuse(head: Any) -> None:
    with pytest.raises(ProtocolError):
        decode_request(0x02, msgpack.packb(head))


@pytest.mark.parametrize("request_id", [0, -1, 1 << 63, "1", 1.0, None, [1]])
def test_a_request_id_is_a_positive_integer_of_63_bits(request_id: Any) -> None:
    with pytest.raises(ProtocolError, match="request id"):
        _request(0x02, FORMAT, request_id, 0, [])


@pytest.mark.parametrize("version", [0, 2, 255, True, 1.0, "1", None, [], {}, b"x" * 70_000])
def test_another_format_is_refused_whatever_follows(version: Any) -> None:
    received = _request(0x02, version, 5, "what a later format may hold", {}, 1)
    assert isinstance(received, Rejected)
    assert received.request_id == 5
    assert received.refusal.code == ErrorCode.UNSUPPORTED_VERSION
    assert len(received.refusal.message) < 200


@pytest.mark.parametrize("kind", [0, 3, 0x0F, 0x5F, 0x60, 0x61, 0x62, 0x70, 0x7F, 0x82, 0x90, 0xFF])
def test_unknown_internal_pushed_and_answer_types_are_no_requests(kind: int) -> None:
    received = _request(kind, FORMAT, 5, 0, [])
    assert isinstance(received, Rejected)
    assert received.refusal.code == "UNKNOWN_MESSAGE"
    assert f"{kind:#04x}" in received.refusal.message


def test_no_log_entry_can_come_from_the_wire() -> None:
    for row in MESSAGES.values():
        if row.sort is Sort.INTERNAL:
            fields = [sample(kind) for kind in row.kinds.values()]
            assert isinstance(_request(row.code, FORMAT, 1, 0, fields), Rejected)


@pytest.mark.parametrize(
    "head",
    [
        (1, 5),
        (1, 5, 0),
        (1, 5, 0, [], 0),
        (1, 5, -1, []),
        (1, 5, None, []),
        (1, 5, True, []),
        (1, 5, DURATION_MS_MAX + 1, []),
        (1, 5, 1.5, []),
    ],
)
def test_a_wrong_head_is_refused_under_its_id(head: tuple[Any, ...]) -> None:
    received = _request(0x02, *head)
    assert isinstance(received, Rejected)
    assert received.request_id == 5
    assert received.refusal.code == "INVALID_REQUEST"


@pytest.mark.parametrize(("fields", "delay_ms"), [([TASK_ID, 7], 0), ([TASK_ID, 7, 90], 90)])
def test_a_release_of_an_older_client_says_nothing_of_the_name(
    fields: list[Any], delay_ms: int
) -> None:
    received = _request(MESSAGE_OF[commands.Nack].code, FORMAT, 1, 0, fields)
    assert isinstance(received, Request)
    assert received.command == commands.Nack(TASK_ID, 7, delay_ms, unknown_task=False)


def test_tasks_of_a_batch_stay_lists_and_may_leave_defaults_out() -> None:
    received = _request(0x11, FORMAT, 1, 0, [[[TASK_ID, "q"], [None, "r", "name"]]])
    assert isinstance(received, Request)
    assert received.command.tasks == [[TASK_ID, "q"], [None, "r", "name"]]
    spoilt = _request(0x11, FORMAT, 1, 0, [[[TASK_ID, "q"], [TASK_ID, "no good"]]])
    assert isinstance(spoilt, Rejected)
    assert spoilt.refusal.message.startswith("SubmitTasks: tasks[1].queue: got 'no good'")


def _filled(value: Any, sent: Any) -> bool:
    """Whether a value is what was sent, records in it with the fields that were left out."""
    if isinstance(value, tuple):
        fits = all(_filled(one, other) for one, other in zip(value, sent, strict=False))
        left_out = value._fields[len(sent) :]  # type: ignore[attr-defined]
        defaults = value._field_defaults  # type: ignore[attr-defined]
        return fits and all(getattr(value, name) == defaults[name] for name in left_out)
    if isinstance(value, list):
        return len(value) == len(sent) and all(map(_filled, value, sent))
    return bool(value == sent)


HOSTILE_ANSWERS = [
    (0x90, [1, 5, []]),
    (0x90, [1, 5, [b"short"]]),
    (0x90, [1, 5, None]),
    (0x90, [1, 5, "x"]),
    (0x90, [1, 5, {}]),
    (0x90, [1, "5", [TASK_ID]]),
    (0x90, [1, True, [TASK_ID]]),
    (0x90, [1, -1, [TASK_ID]]),
    (0x90, [2, 5, [TASK_ID]]),
    (0x90, [True, 5, [TASK_ID]]),
    (0x90, [1.0, 5, [TASK_ID]]),
    (0x90, [1, 5]),
    (0x90, [1, 5, [TASK_ID], 0]),
    (0x90, []),
    (0x90, 7),
    (0x90, None),
    (0x92, [1, 5, []]),  # Claimed without its list of tasks
    (0x92, [1, 5, [5, 1]]),
    (0x92, [1, 5, ["abc", 1]]),
    (0x92, [1, 5, [[[]], 1]]),
    (0xA0, [1, 5, [None] * 22]),
    (0x91, [1, 5, [[[True, []]]]]),
    (0x91, [1, 5, [[[True, ["text"]]]]]),
    (0x91, [1, 5, [[[False, [1, 2]]]]]),
    (0x91, [1, 5, [[[1, [TASK_ID]]]]]),
    (0xFF, [1, 5, "ab"]),
    (0xFF, [1, 5, [["QUEUE_FULL"], "m"]]),
    (0xFF, [1, 5, ["QUEUE_FULL", "m", "soon"]]),
    (0xFF, [1, 5, ["QUEUE_FULL", "m", 0, 1]]),
    (0xE0, [1, 5, []]),  # an answer to a log entry
    (0xF0, [1, 5, []]),  # an answer to a push
    (0x83, [1, 5, []]),
    (0x80, [1, 5, []]),
    (0x10, [1, [TASK_ID, "q"]]),  # a request in place of a push
    (0x60, [1, [1]]),
    (0x00, [1, []]),
    (0x70, [1]),
    (0x70, [1, [TASK_ID]]),
    (0x70, [1, [TASK_ID, 1], 2]),
    (0x70, [1, [TASK_ID, -1]]),
]


@pytest.mark.parametrize(("kind", "head"), HOSTILE_ANSWERS)
def test_a_hostile_answer_is_a_protocol_error(kind: int, head: Any) -> None:
    with pytest.raises(ProtocolError):
        decode_answer(kind, msgpack.packb(head))


def test_a_wrong_answer_in_a_batch_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"answers\[1\].task_id: got 5"):
        decode_answer(0x91, msgpack.packb([1, 5, [[[True, [TASK_ID]], [True, [5]]]]]))


@pytest.mark.parametrize("value", [1 << 64, "\ud800", object()])
def test_what_cannot_be_packed_leaves_nothing_in_the_packer(value: Any) -> None:
    with pytest.raises((OverflowError, UnicodeEncodeError, TypeError)):
        encode_request(PACK, commands.SubmitTask(None, "q", value), 1)
    good = commands.SubmitTask(None, "q")
    assert encode_request(PACK, good, 1) == encode_request(make_pack(), good, 1)


def test_a_payload_over_the_frame_is_refused_before_it_is_sent() -> None:
    task = commands.SubmitTask(None, "q", "", bytes(16 * 1024 * 1024))
    with pytest.raises(ProtocolError, match="at most 16777216 bytes"):
        encode_request(PACK, task, 1)


def _says_more(kind: Kind, value: Any) -> bool:
    """Whether there is a record in it with more fields than it has: legal in an answer."""
    match kind:
        case ListOf() if isinstance(value, list):
            return any(_says_more(kind.inner, one) for one in value)
        case Record() if isinstance(value, list):
            return len(value) > len(kinds_of(kind.shape))
    return False


@pytest.mark.parametrize("shape", [results.Stats, results.TaskView, results.HelloReply])
@settings(max_examples=30)
@given(data=st.data())
def test_a_reply_with_one_spoilt_field_names_it(shape: type, data: st.DataObject) -> None:
    row = next(row for row in MESSAGE_OF.values() if row.reply is shape)
    name, kind = data.draw(st.sampled_from(list(kinds_of(shape).items())))
    fields = data.draw(st.tuples(*map(legal, kinds_of(shape).values())).map(list))
    fields[list(kinds_of(shape)).index(name)] = data.draw(
        st.sampled_from([value for value in illegal(kind) if not _says_more(kind, value)])
    )
    with pytest.raises(ProtocolError, match=name):
        decode_answer(row.code | 0x80, msgpack.packb([1, 5, fields]))


def _longer(shape: type, fields: list[Any]) -> list[Any]:
    """What a later version might send: each record says more."""
    longer: list[Any] = []
    for value, kind in zip(fields, kinds_of(shape).values(), strict=False):
        if isinstance(kind, ListOf) and isinstance(kind.inner, Record):
            value = [_longer(kind.inner.shape, list(record)) for record in value]
        longer.append(value)
    missing = list(kinds_of(shape).values())[len(longer) :]
    return [*longer, *map(sample, missing), "later", None]


@pytest.mark.parametrize("row", REQUESTS, ids=_name)
@settings(max_examples=5)
@given(data=st.data())
def test_what_a_later_version_adds_to_an_answer_is_left_aside(
    row: Message, data: st.DataObject
) -> None:
    assert row.reply is not None
    fields = data.draw(legal_fields(row.reply))
    if row.member is not None:
        answer = [True, _longer(row.member, data.draw(legal_fields(row.member)))]
        fields = [[answer, [False, ["NOT_FOUND", "gone", 0, False, "later"]]]]
    frame = encode_reply(PACK, row.code, 7, _longer(row.reply, fields))
    value = decode_answer(*_cut(frame)).value  # type: ignore[union-attr]
    assert type(value) is row.reply
    assert len(value) == len(kinds_of(row.reply))
    if row.member is not None:
        assert [len(rest) for _, rest in value.answers] == [len(kinds_of(row.member)), 4]


def test_what_a_later_version_adds_hides_no_wrong_field() -> None:
    head = (FORMAT, 1, ["not a count", "later"])
    with pytest.raises(ProtocolError, match="malformed"):
        decode_answer(0x20 | 0x80, msgpack.packb(head))
