"""Records: msgpack arrays that start with the format version."""

from __future__ import annotations

from typing import Any

import msgpack

from taskq.machine.keys import FORMAT

# Payloads and results are kept as they came, behind one byte that names the format.
_RAW = bytes((FORMAT,))

_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


def pack(*fields: Any) -> bytes:
    """The bytes of a record. Deterministic: the same fields give the same bytes on every node."""
    record: bytes = _packer.pack((FORMAT, *fields))
    return record


def format_of(record: bytes) -> int:
    """The format version of a record made by `pack`, of any version."""
    version: int = msgpack.unpackb(record, strict_map_key=False)[0]
    return version


def unpack(record: bytes) -> list[Any]:
    """The fields of a record, without the version. Another version is a bug: the node checks the
    format of a state (`format_of` its clocks) before it loads it."""
    fields: list[Any] = msgpack.unpackb(record, strict_map_key=False)
    version = fields.pop(0)
    assert version == FORMAT, f"record of format {version}"
    return fields


def pack_raw(content: bytes) -> bytes:
    """The record of a payload or result."""
    return _RAW + content


def unpack_raw(record: bytes) -> bytes:
    """The payload or result of a record."""
    assert record[0] == FORMAT, f"record of format {record[0]}"
    return record[1:]
