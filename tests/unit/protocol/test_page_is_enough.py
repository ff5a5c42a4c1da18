"""The page alone makes a client: one written from it talks to the real end of the node."""

import ast
import re
from pathlib import Path

import pytest

from taskq.commands import CancelRequested, SubmitTask
from taskq.errors import ErrorCode, refuse
from taskq.fields import counts_of
from taskq.protocol.codec import REPLY_BIT, Rejected, Request, decode_answer
from taskq.protocol.connection import ServerConnection
from taskq.protocol.frame import FrameReader
from taskq.protocol.page import render
from taskq.protocol.page_examples import examples
from taskq.registry import MESSAGES, Message, Sort
from taskq.results import HelloReply, Submitted
from tests.unit.protocol import page_client
from tests.unit.protocol.page_client import PageClient, read_tables, value_for

PAGE = render()
TABLES = read_tables(PAGE)
ROWS = [row for row in MESSAGES.values() if row.sort is not Sort.INTERNAL]
REQUESTS = [row for row in ROWS if row.reply is not None]
AFTER_HELLO = [row for row in REQUESTS if row.name != "Hello"]
TASK_ID = b"\x01" * 16
HELLO_REPLY = HelloReply(1, "c", "n", "n", 1, [["n", "h:1"]], "0", 30_000, 9, 9, 9, 9, 9)


def _name(row: Message) -> str:
    return row.name


def _opened() -> tuple[PageClient, ServerConnection]:
    client, server = PageClient(TABLES), ServerConnection()
    (hello,) = server.receive(client.request("Hello", [[1], "page", None]))
    assert isinstance(hello, Request)
    ((reply, request_id, fields),) = client.answers(server.accept(hello.request_id, HELLO_REPLY))
    assert (reply, request_id) == ("HelloReply", 1)
    assert fields == HELLO_REPLY._asdict()
    return client, server


def test_the_client_knows_nothing_but_the_page() -> None:
    tree = ast.parse(Path(page_client.__file__).read_text())
    modules = [
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [node.names[0].name])
    ]
    assert sorted(modules) == ["__future__", "dataclasses", "msgpack", "re", "struct", "typing"]


def test_submit_reply_refusal_and_push() -> None:
    client, server = _opened()
    (received,) = server.receive(client.request("SubmitTask", [TASK_ID, "mail"], 5_000))
    assert isinstance(received, Request)
    assert received.command == SubmitTask(TASK_ID, "mail")
    assert received.deadline_ms == 5_000
    stream = (
        server.push(CancelRequested(TASK_ID, 42))
        + server.reply(0x10, received.request_id, refuse(ErrorCode.QUEUE_FULL, "full", 250))
        + server.reply(0x10, received.request_id, Submitted(TASK_ID))
    )
    refusal = {"code": "QUEUE_FULL", "message": "full", "retry_after_ms": 250, "unknown": False}
    pieces = [stream[at : at + 3] for at in range(0, len(stream), 3)]
    assert [event for piece in pieces for event in client.answers(piece)] == [
        ("CancelRequested", 0, {"task_id": TASK_ID, "token": 42}),
        ("refusal", received.request_id, refusal),
        ("Submitted", received.request_id, {"task_id": TASK_ID}),
    ]


@pytest.mark.parametrize("row", REQUESTS, ids=_name)
def test_a_request_made_from_its_table_is_legal(row: Message) -> None:
    whole = [value_for(allowed, TABLES) for _, allowed, _ in TABLES[row.name].fields]
    needed = [value_for(a, TABLES) for _, a, default in TABLES[row.name].fields if not default]
    for fields in (whole, needed):
        client, server = PageClient(TABLES), ServerConnection()
        if row.name != "Hello":
            client, server = _opened()
        (received,) = server.receive(client.request(row.name, fields))
        assert isinstance(received, Request), received
        assert received.command == row.shape(*fields)


@pytest.mark.parametrize("row", AFTER_HELLO, ids=_name)
def test_a_field_more_than_the_table_has_is_refused(row: Message) -> None:
    client, server = _opened()
    whole = [value_for(allowed, TABLES) for _, allowed, _ in TABLES[row.name].fields]
    (received,) = server.receive(client.request(row.name, [*whole, None]))
    assert isinstance(received, Rejected)


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_tables_are_those_of_the_registry(row: Message) -> None:
    table = TABLES[row.name]
    assert table.code == row.code
    for shape in filter(None, (row.shape, row.reply, row.member)):
        fields = TABLES[shape.__name__].fields
        assert [name for name, _, _ in fields] == list(shape._fields)  # type: ignore[attr-defined]
        least, _ = counts_of(shape)
        assert [bool(default) for _, _, default in fields].count(False) == least
    assert table.reply == (row.reply.__name__ if row.reply else "")
    assert table.reply_code == (row.code | REPLY_BIT if row.reply else None)
    assert table.member == (row.member.__name__ if row.member else "")


@pytest.mark.parametrize("row", REQUESTS, ids=_name)
def test_a_reply_made_from_its_table_is_what_the_real_client_takes(row: Message) -> None:
    assert row.reply is not None
    fields = [value_for(allowed, TABLES) for _, allowed, _ in TABLES[row.reply.__name__].fields]
    payload = page_client.msgpack.packb([1, 5, fields])
    answer = decode_answer(row.code | REPLY_BIT, payload)
    assert type(answer.value) is row.reply  # type: ignore[union-attr]


def test_the_page_names_every_error_code_and_no_log_entry() -> None:
    for code in ErrorCode:
        assert re.search(rf"^\| `{code}` \| .+ \| (yes|no) \|$", PAGE, re.MULTILINE)
    for row in MESSAGES.values():
        if row.sort is Sort.INTERNAL:
            assert row.name not in PAGE


def test_the_examples_on_the_page_are_whole_frames_of_what_they_show() -> None:
    blocks = [bytes.fromhex(block) for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)]
    made = list(examples())
    assert len(made) == 7
    assert blocks == [frame for _, frame, _ in made]
    for _, frame, value in made:
        ((_, payload),) = FrameReader().feed(frame)
        assert page_client.msgpack.packb(value) == payload
