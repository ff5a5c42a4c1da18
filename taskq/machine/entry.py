"""Log entries: a format byte, then msgpack [elapsed_ms, wall_ms, [[code, fields], ...]].

One entry holds all commands that arrived during a driver round, stamped by the leader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

import taskq.commands  # noqa: F401  # enters the commands into the registry
from taskq.registry import MESSAGE_OF, MESSAGES

FORMAT = 1
_HEAD = bytes((FORMAT,))
_SHAPES: dict[int, tuple[Any, int]] = {
    code: (message.shape, len(message.shape._fields))  # type: ignore[attr-defined]
    for code, message in MESSAGES.items()
}
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


def encode_entry(elapsed_ms: int, wall_ms: int, commands: Sequence[Any]) -> bytes:
    """The bytes of an entry. Commands are the registry's `NamedTuple`s."""
    coded = [(MESSAGE_OF[type(command)].code, command) for command in commands]
    entry: bytes = _HEAD + _packer.pack((elapsed_ms, wall_ms, coded))
    return entry


def decode_entry(entry: bytes) -> tuple[int, int, list[Any]]:
    """(elapsed_ms, wall_ms, commands). A format that this node cannot read is a bug: nodes agree
    on a format before anyone writes it."""
    assert entry[0] == FORMAT, f"an entry of format {entry[0]}; this node reads {FORMAT}"
    elapsed, wall, coded = msgpack.unpackb(memoryview(entry)[1:], strict_map_key=False)
    return elapsed, wall, [_command(code, fields) for code, fields in coded]


def _command(code: int, fields: list[Any]) -> Any:
    """The command of a code; trailing fields with a default may be missing in an older entry."""
    shape, count = _SHAPES[code]
    if len(fields) == count:
        return tuple.__new__(shape, fields)  # the call takes four times as long
    return shape(*fields)
