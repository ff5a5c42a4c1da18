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
# Python neither writes nor reads more than 4,300 digits.
INT_BITS_MAX = 14_000


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
        found = _flaw(self, value, 0)
        return f"{where}{found[0]} {found[1]}" if found else ""


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


# Where in a value, as text behind its name, and what is wrong there.
_Flaw = tuple[str, str] | None


def _flaw(codec: Codec, value: Any, depth: int) -> _Flaw:
    if value is None or value is True or value is False:
        return None
    if isinstance(value, str):
        return None if value.isascii() or _is_unicode(value) else ("", "holds half a character")
    if isinstance(value, int):
        return _flaw_of_int(codec, value)
    if isinstance(value, float):
        if codec is JSON and not math.isfinite(value):
            return "", f"is {value}, which json cannot carry"
        return None
    if isinstance(value, list | tuple | dict):
        if depth == DEPTH_MAX:
            return "", f"is nested more than {DEPTH_MAX} deep (or holds itself)"
        return _flaw_of_many(codec, value, depth + 1)
    if isinstance(value, bytes):
        return None if codec is MSGPACK else ("", 'is bytes, which need codec="msgpack"')
    return "", f"is a {type(value).__name__}, which {codec.name} cannot carry"


def _flaw_of_int(codec: Codec, value: int) -> _Flaw:
    if codec is MSGPACK and not -(1 << 63) <= value < 1 << 64:
        return "", "is an int beyond 64 bits, which msgpack cannot carry"
    if value.bit_length() > INT_BITS_MAX:
        return "", f"is an int of {value.bit_length()} bits, at most {INT_BITS_MAX} can be carried"
    return None


def _flaw_of_many(
    codec: Codec, value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int
) -> _Flaw:
    if not isinstance(value, dict):
        for place, member in enumerate(value):
            if found := _flaw(codec, member, depth):
                return f"[{place}]{found[0]}", found[1]
        return None
    for key, member in value.items():
        if not isinstance(key, codec.key_types) or isinstance(key, bool):
            kind = type(key).__name__
            return "", f"has the key {key!r:.60} ({kind}), which {codec.name} cannot carry"
        if found := _flaw(codec, key, depth):
            return "", f"has the key {key!r:.60}, which {found[1]}"
        if found := _flaw(codec, member, depth):
            return f"[{key!r:.60}]{found[0]}", found[1]
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
