"""Worked examples of the protocol page: frames made by the codec itself, shown byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskq.commands import CancelRequested, Hello, SubmitTask
from taskq.errors import ErrorCode, refuse
from taskq.limits import FRAME_SIZE_MAX, MIB
from taskq.protocol.codec import encode_push, encode_reply, encode_request, make_pack
from taskq.protocol.frame import HEAD_SIZE
from taskq.registry import MESSAGE_OF
from taskq.results import HelloReply, Submitted

TASK_ID = bytes.fromhex("0197f0a1b2c37d4e8f90a1b2c3d4e5f6")
_HELLO_REPLY = HelloReply(
    1, "c1", "node1", "node1", 3, [["node1", "10.0.0.1:6379"]], "0.1.0",
    30_000, FRAME_SIZE_MAX, MIB, MIB, 10, 1_000,
)  # fmt: skip


def examples() -> Iterator[tuple[str, bytes, Any]]:
    """Title, frame, and the value that its payload holds."""
    pack = make_pack()
    hello = Hello([1], "demo/1", "secret")
    submit = SubmitTask(TASK_ID, "mail", "send", b"hi")
    submit_code, hello_code = MESSAGE_OF[SubmitTask].code, MESSAGE_OF[Hello].code
    submitted = Submitted(TASK_ID)
    full = refuse(ErrorCode.QUEUE_FULL, "full", 250)
    wanted = CancelRequested(TASK_ID, 42)
    yield "Hello, request 1", encode_request(pack, hello, 1), [1, 1, 0, hello]
    answer = encode_reply(pack, hello_code, 1, _HELLO_REPLY)
    yield "Its answer, HelloReply", answer, [1, 1, _HELLO_REPLY]
    short = submit[:4]
    frame = encode_request(pack, submit, 2, 5_000)
    yield "SubmitTask, request 2, deadline 5 s, all fields", frame, [1, 2, 5_000, submit]
    cut = pack((1, 3, 0, short))
    frame = (len(cut) + 1).to_bytes(4, "big") + bytes([submit_code]) + cut
    yield "SubmitTask, request 3, trailing defaults left out", frame, [1, 3, 0, short]
    yield "Reply to request 2", encode_reply(pack, submit_code, 2, submitted), [1, 2, submitted]
    yield "Refusal of request 3", encode_reply(pack, submit_code, 3, full), [1, 3, full]
    yield "Push of CancelRequested", encode_push(pack, wanted), [1, wanted]


def render_examples() -> str:
    """The chapter of the page."""
    parts = ["## Worked examples\n\nFrames as they travel, in hex: length, type, payload.\n"]
    for title, frame, value in examples():
        rows = [frame[:4].hex(), f"{frame[4]:02x}", *_lines(frame[HEAD_SIZE:])]
        text = "\n".join(rows)
        parts.append(f"*{title}*: `{shown_value(value)}`\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _lines(payload: bytes) -> Iterator[str]:
    for at in range(0, len(payload), 24):
        yield payload[at : at + 24].hex(" ")


def shown_value(value: Any) -> str:
    """A value in the notation of the page: nil, true, false, "text", h'hex', [..], {..}."""
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case bytes():
            return f"h'{value.hex()}'"
        case list() | tuple():
            return f"[{', '.join(map(shown_value, value))}]"
        case dict():
            pairs = (f"{shown_value(key)}: {shown_value(each)}" for key, each in value.items())
            return "{" + ", ".join(pairs) + "}"
    return str(value)
