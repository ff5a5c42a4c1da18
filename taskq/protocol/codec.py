"""Messages to payloads and back: msgpack arrays that start with the format version.

    request   [1, request id, deadline_ms, fields]     type: the message's code
    reply     [1, request id, fields]                  type: code | 0x80
    refusal   [1, request id, fields of Refusal]       type: 0xFF
    push      [1, fields]                              type: the message's code

Pure; derives everything from the registry. `deadline_ms` is how long the sender waits, 0 for the
default. Request ids are chosen by the client, 1..2^63-1, unique among those unanswered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

import taskq.commands  # noqa: F401  # fills the registry
from taskq.errors import ErrorCode, ProtocolError, Refusal, refuse
from taskq.explain import explain, shown
from taskq.fields import compile_check
from taskq.limits import DURATION_MS_MAX
from taskq.protocol.frame import pack_frame
from taskq.protocol.revive import revive, trimmed
from taskq.protocol.spread import SPREAD
from taskq.protocol.unpack import (
    ARRAY_COUNT_LEAST,
    REQUEST_VALUE_COUNT_MAX,
    array_count_max,
    unpack,
)
from taskq.registry import MESSAGE_OF, MESSAGES, Message, Sort
from taskq.results import BatchReply

FORMAT = 1
REPLY_BIT = 0x80
REFUSAL_TYPE = 0xFF
# Answers to what cannot even be ascribed to a request carry this id.
NO_REQUEST = 0
REQUEST_ID_MAX = (1 << 63) - 1

Pack = Callable[[Any], bytes]

# An answer is an array of three: the format, the request id, fields. In msgpack, ids below 0x80 are
# one byte; others have 1, 2, 4 or 8 behind a byte that says so.
_REPLY_HEAD = bytes((0x93, FORMAT))
_FIRST_LONG_ID = 0xCC
_SMALL_IDS = [bytes((number,)) for number in range(0x80)]

# By message type, so that the hot path asks once.
_REQUESTS = {
    code: row for code, row in MESSAGES.items() if row.sort not in (Sort.INTERNAL, Sort.PUSH)
}
_ARRAY_COUNTS = {code: array_count_max(row.shape) for code, row in _REQUESTS.items()}
_SPREAD = {MESSAGE_OF[shape].code: spread for shape, spread in SPREAD.items()}
_PUSHES = {code: row for code, row in MESSAGES.items() if row.sort is Sort.PUSH}


class Request(NamedTuple):
    """A request as received. `size` is its payload's with what that spreads to in memory, for
    limits on bytes in flight. `scope`: what the sender's key is limited to, set by the node."""

    request_id: int
    message: Message
    command: Any
    deadline_ms: int
    size: int
    scope: Any = None


class Rejected(NamedTuple):
    """A frame that is no legal request, with the refusal that answers it."""

    request_id: int
    refusal: Refusal


class Reply(NamedTuple):
    """An answer as received: an instance of the message's reply shape, or a `Refusal`."""

    request_id: int
    value: Any


class Push(NamedTuple):
    """A message that the node sent by itself."""

    command: Any


def make_pack() -> Pack:
    """A packer of its own. One packer serves one thread: all its calls share a buffer."""
    pack: Pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
    return pack


def encode_request(pack: Pack, command: Any, request_id: int, deadline_ms: int = 0) -> bytes:
    """The frame of a request. Raises ProtocolError where it is too large."""
    row = MESSAGE_OF[type(command)]
    return pack_frame(row.code, pack((FORMAT, request_id, deadline_ms, command)))


def decode_request(kind: int, payload: bytes) -> Request | Rejected:
    """A request frame, checked field by field.

    Raises ProtocolError where there is no request id to answer to.
    """
    array_count = _ARRAY_COUNTS.get(kind, ARRAY_COUNT_LEAST)
    head = unpack(payload, array_count, REQUEST_VALUE_COUNT_MAX)
    if type(head) is not list or len(head) < 2:
        raise ProtocolError("a request is an array [format, request id, deadline_ms, fields]")
    version, request_id = head[0], head[1]
    if type(request_id) is not int or not 0 < request_id <= REQUEST_ID_MAX:
        raise ProtocolError("a request id is an integer from 1 to 2^63-1")
    if version != FORMAT or type(version) is not int:
        text = f"format {shown(version)}; this node reads {FORMAT}"
        return Rejected(request_id, refuse(ErrorCode.UNSUPPORTED_VERSION, text))
    row = _REQUESTS.get(kind)
    if row is None:
        return Rejected(request_id, refuse(ErrorCode.UNKNOWN_MESSAGE, f"message type {kind:#04x}"))
    if len(head) != 4 or type(head[2]) is not int or not 0 <= head[2] <= DURATION_MS_MAX:
        text = "expected [format, request id, deadline_ms, fields]"
        return Rejected(request_id, refuse(ErrorCode.INVALID_REQUEST, text))
    try:
        command = row.parse(head[3])
    except ValueError as error:
        text = f"{row.name}: {error}"
        return Rejected(request_id, refuse(ErrorCode.INVALID_REQUEST, text))
    spread = _SPREAD.get(kind)
    size = len(payload) if spread is None else len(payload) + spread(command)
    return Request(request_id, row, command, head[2], size)


def encode_reply(pack: Pack, code: int, request_id: int, value: Any) -> bytes:
    """The frame that answers a request of type `code`: with a reply or with a `Refusal`."""
    kind = REFUSAL_TYPE if type(value) is Refusal else code | REPLY_BIT
    return pack_frame(kind, pack((FORMAT, request_id, value)))


def split_reply(payload: bytes) -> tuple[int, bytes]:
    """(request id, what follows it) of an answer that was packed by `encode_reply`, undecoded."""
    first = payload[2]
    if first < _FIRST_LONG_ID:
        return first, payload[3:]
    end = 3 + (1 << (first - _FIRST_LONG_ID))
    return int.from_bytes(payload[3:end]), payload[end:]


def join_reply(kind: int, request_id: int, body: bytes) -> bytes:
    """The frame that passes on what `split_reply` gave, under another request id."""
    return pack_frame(kind, _REPLY_HEAD + _pack_id(request_id) + body)


def _pack_id(number: int) -> bytes:
    if number < 0x80:
        return _SMALL_IDS[number]
    power = (number > 0xFF) + (number > 0xFFFF) + (number > 0xFFFFFFFF)
    return (_FIRST_LONG_ID + power).to_bytes() + number.to_bytes(1 << power)


def decode_refusal(body: bytes) -> Refusal:
    """The refusal in what `split_reply` gave. Raises ProtocolError."""
    try:
        refusal: Refusal = revive(Refusal, unpack(body))
    except ValueError as error:
        raise ProtocolError(f"a malformed refusal: {error}") from error
    return refusal


def encode_push(pack: Pack, command: Any) -> bytes:
    """The frame of a message that nobody asked for."""
    return pack_frame(MESSAGE_OF[type(command)].code, pack((FORMAT, command)))


def decode_answer(kind: int, payload: bytes) -> Reply | Push:
    """A frame that a client received. Raises ProtocolError."""
    head = unpack(payload)
    if type(head) is not list or not head or head[0] != FORMAT or type(head[0]) is not int:
        raise ProtocolError(f"a frame of a format other than {FORMAT}")
    try:
        if kind & REPLY_BIT:
            return _decode_reply(kind, head)
        row = _PUSHES.get(kind)
        if row is None or len(head) != 2:
            raise ProtocolError(f"a frame of type {kind:#04x} is neither an answer nor a push")
        return Push(row.parse(head[1]))
    except ValueError as error:
        raise ProtocolError(f"a frame of type {kind:#04x} is malformed: {error}") from error


def _decode_reply(kind: int, head: list[Any]) -> Reply:
    if len(head) != 3 or type(head[1]) is not int or not 0 <= head[1] <= REQUEST_ID_MAX:
        raise ProtocolError("an answer is an array [format, request id, fields]")
    if kind == REFUSAL_TYPE:
        return Reply(head[1], revive(Refusal, head[2]))
    row = _REQUESTS.get(kind & ~REPLY_BIT)
    if row is None or row.reply is None:
        raise ProtocolError(f"an answer of type {kind:#04x} to a request that does not exist")
    value = revive(row.reply, head[2])
    if row.member is not None:
        _check_members(row.member, value)
    return Reply(head[1], value)


def _check_members(member: type, batch: BatchReply) -> None:
    """The answers in a batch stay lists, as thousands of them are mostly only counted."""
    good, bad = compile_check(member), compile_check(Refusal)
    for position, (accepted, fields) in enumerate(batch.answers):
        check = good if accepted else bad
        if check(fields):
            continue
        shape = member if accepted else Refusal
        fields[:] = trimmed(shape, fields)
        if not check(fields):
            raise ValueError(explain(shape, fields, f"answers[{position}]"))
