"""Records: msgpack arrays that start with the format version."""

from __future__ import annotations

from typing import Any

import msgpack

from taskq.machine.keys import FORMAT

_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


def pack(*fields: Any) -> bytes:
    """The bytes of a record. Deterministic: the same fields give the same bytes on every node."""
    record: bytes = _packer.pack((FORMAT, *fields))
    return record


def unpack(record: bytes) -> list[Any]:
    """The fields of a record, without the version. A newer version is a bug: the node checks the
    format of a folder before it opens it."""
    fields: list[Any] = msgpack.unpackb(record, strict_map_key=False)
    version = fields.pop(0)
    assert version == FORMAT, f"record of format {version}"
    return fields
