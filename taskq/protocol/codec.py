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
from taskq.fields import ListOf, Record, kinds_of
from taskq.limits import DURATION_MS_MAX
from taskq.protocol.frame import pack_frame
from taskq.registry import MESSAGE_OF, MESSAGES, Message, Sort

FORMAT = 1
REPLY_BIT = 0x80
REFUSAL_TYPE = 0xFF
# Answers to what cannot even be ascribed to a request carry this id.
NO_REQUEST = 0

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class Request(NamedTuple):
    """A request as received. `size` is its payload's, for limits on bytes in flight."""

    request_id: int
    message: Message
    command: Any
    deadline_ms: int
    size: int


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


def unpack(payload: bytes) -> Any:
    """One msgpack value. Raises ProtocolError for anything else, however malformed."""
    try:
        return msgpack.unpackb(payload, raw=False, use_list=True, strict_map_key=True)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise ProtocolError(f"not a msgpack value: {reason}") from error


def encode_request(command: Any, request_id: int, deadline_ms: int = 0) -> bytes:
    """The frame of a request."""
    row = MESSAGE_OF[type(command)]
    return pack_frame(row.code, _pack((FORMAT, request_id, deadline_ms, command)))


def decode_request(kind: int, payload: bytes) -> Request | Rejected:
    """A request frame, checked field by field. Raises ProtocolError where there is no request id."""
    head = unpack(payload)
    if type(head) is not list or len(head) < 2:
        raise ProtocolError("a request is an array [format, request id, deadline_ms, fields]")
    version, request_id = head[0], head[1]
    if type(request_id) is not int or not 0 < request_id < 1 << 63:
        raise ProtocolError("a request id is an integer from 1 to 2^63-1")
    if version != FORMAT or type(version) is not int:
        text = f"format {version!r}; this node reads {FORMAT}"[:200]
        return Rejected(request_id, refuse(ErrorCode.UNSUPPORTED_VERSION, text))
    row = MESSAGES.get(kind)
    if row is None or row.sort in (Sort.INTERNAL, Sort.PUSH):
        return Rejected(request_id, refuse(ErrorCode.UNKNOWN_MESSAGE, f"message type {kind:#04x}"))
    if len(head) != 4 or type(head[2]) is not int or not 0 <= head[2] <= DURATION_MS_MAX:
        text = "expected [format, request id, deadline_ms, fields]"
        return Rejected(request_id, refuse(ErrorCode.INVALID_REQUEST, text))
    try:
        command = row.parse(head[3])
    except ValueError as error:
        text = f"{row.name}: {error}"
        return Rejected(request_id, refuse(ErrorCode.INVALID_REQUEST, text))
    return Request(request_id, row, command, head[2], len(payload))


def encode_reply(code: int, request_id: int, value: Any) -> bytes:
    """The frame that answers a request of type `code`: with a reply or with a `Refusal`."""
    kind = REFUSAL_TYPE if type(value) is Refusal else code | REPLY_BIT
    return pack_frame(kind, _pack((FORMAT, request_id, value)))


def encode_push(command: Any) -> bytes:
    """The frame of a message that nobody asked for."""
    return pack_frame(MESSAGE_OF[type(command)].code, _pack((FORMAT, command)))


def decode_answer(kind: int, payload: bytes) -> Reply | Push:
    """A frame that a client received. Raises ProtocolError."""
    fields = unpack(payload)
    if type(fields) is not list or not fields or fields[0] != FORMAT:
        raise ProtocolError(f"a frame of a format other than {FORMAT}")
    try:
        if kind & REPLY_BIT:
            _, request_id, body = fields
            shape = Refusal if kind == REFUSAL_TYPE else MESSAGES[kind & ~REPLY_BIT].reply
            if type(request_id) is not int or shape is None:
                raise ProtocolError(f"a reply of type {kind:#04x} without a request")
            return Reply(request_id, revive(shape, body))
        row = MESSAGES[kind]
        _, body = fields
        return Push(row.parse(body))
    except (ValueError, TypeError, KeyError) as error:
        raise ProtocolError(f"a reply of type {kind:#04x} is malformed: {error}") from error


_revivers: dict[type, Callable[[list[Any]], Any]] = {}


def revive(shape: type, body: Any) -> Any:
    """An instance of `shape` from its array; nested records become instances, too.

    Raises TypeError where the number of fields is wrong.
    """
    reviver = _revivers.get(shape)
    if reviver is None:
        reviver = _revivers[shape] = _make_reviver(shape)
    return reviver(body)


def _make_reviver(shape: type) -> Callable[[list[Any]], Any]:
    if shape is Refusal:
        return lambda body: Refusal(*body)
    nested = [
        (position, kind.inner.shape)
        for position, kind in enumerate(kinds_of(shape).values())
        if isinstance(kind, ListOf) and isinstance(kind.inner, Record)
    ]
    if not nested:
        return lambda body: shape(*body)

    def revive_nested(body: list[Any]) -> Any:
        for position, inner in nested:
            body[position] = [revive(inner, value) for value in body[position]]
        return shape(*body)

    return revive_nested
