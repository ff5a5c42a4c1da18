"""How Python values travel as payloads and results: JSON or msgpack, never pickle.

    JSON      None, bool, int, float (finite), str; lists and tuples; dicts whose keys are text
    msgpack   the same with any float, bytes, and dicts whose keys may also be int or bytes; ints
              have 64 bits

Tuples come back as lists. What a codec cannot carry is refused by name instead of being changed:
plain `json` would turn the key 1 into "1". Knows neither tasks nor functions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

CONTENT_TYPE_HEADER = "content-type"
CONTENT_TYPE_JSON = "application/json"
CONTENT_TYPE_MSGPACK = "application/msgpack"
# Deeper values would meet the limits of the interpreter's stack or of msgpack, here or there.
DEPTH_MAX = 100


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to write values. `encode` raises TypeError or ValueError, `decode` ValueError."""

    name: str
    content_type: str
    key_types: tuple[type, ...]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]

    def flaw(self, value: Any, where: str) -> str:
        """What of `value` cannot be carried, in words that begin with its place; "" for nothing.

        `where` is how the value is called, for example the name of an argument.
        """
        return _flaw(self, value, where, 0)


def _write_json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _write_msgpack(value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return packed


def _read_msgpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except msgpack.UnpackException as error:
        raise ValueError(str(error) or "it ends too early") from error


JSON = Codec("json", CONTENT_TYPE_JSON, (str,), _write_json, json.loads)
MSGPACK = Codec("msgpack", CONTENT_TYPE_MSGPACK, (str, int, bytes), _write_msgpack, _read_msgpack)
CODECS = {codec.name: codec for codec in (JSON, MSGPACK)}
_BY_CONTENT_TYPE = {codec.content_type: codec for codec in (JSON, MSGPACK)}


def codec_of(content_type: str | None) -> Codec | None:
    """The codec that a content type names, parameters and case aside; JSON where there is none,
    None for what we cannot read."""
    if content_type is None:
        return JSON
    found = _BY_CONTENT_TYPE.get(content_type)
    return found or _BY_CONTENT_TYPE.get(content_type.partition(";")[0].strip().lower())


def _flaw(codec: Codec, value: Any, where: str, depth: int) -> str:
    if value is None or value is True or value is False:
        return ""
    if isinstance(value, str):
        return "" if value.isascii() or _is_unicode(value) else f"{where} holds half a character"
    if isinstance(value, int):
        return _flaw_of_int(codec, value, where)
    if isinstance(value, float):
        if codec is JSON and not math.isfinite(value):
            return f"{where} is {value}, which JSON does not know"
        return ""
    if isinstance(value, list | tuple | dict):
        if depth == DEPTH_MAX:
            return f"{where} is nested more than {DEPTH_MAX} deep (or holds itself)"
        return _flaw_of_many(codec, value, where, depth + 1)
    if isinstance(value, bytes):
        return "" if codec is MSGPACK else f'{where} is bytes, which need codec="msgpack"'
    return f"{where} is a {type(value).__name__}, which {codec.name} cannot carry"


def _flaw_of_int(codec: Codec, value: int, where: str) -> str:
    if codec is MSGPACK and not -(1 << 63) <= value < 1 << 64:
        return f"{where} is an int beyond 64 bits, which msgpack cannot carry"
    if value.bit_length() > 10_000:  # Python neither writes nor reads so many digits
        return f"{where} is an int of {value.bit_length()} bits, which is too long"
    return ""


def _flaw_of_many(
    codec: Codec, value: list[Any] | tuple[Any, ...] | dict[Any, Any], where: str, depth: int
) -> str:
    if not isinstance(value, dict):
        for place, member in enumerate(value):
            # The usual members are passed without a call; a name is made only for what is wrong.
            if type(member) is int and -(1 << 63) <= member < 1 << 63:
                continue
            if _flaw(codec, member, where, depth):
                return _flaw(codec, member, f"{where}[{place}]", depth)
        return ""
    for key, member in value.items():
        if not isinstance(key, codec.key_types) or isinstance(key, bool):
            kind = type(key).__name__
            return f"{where} has the key {key!r:.60} ({kind}), which {codec.name} cannot carry"
        if _flaw(codec, key, where, depth):
            return _flaw(codec, key, f"a key of {where}", depth)
        if _flaw(codec, member, where, depth):
            return _flaw(codec, member, f"{where}[{key!r:.60}]", depth)
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
