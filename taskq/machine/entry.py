"""Log entries: a version byte, then msgpack [elapsed_ms, wall_ms, [[code, fields], ...]].

One entry holds all commands that arrived during a driver round, stamped by the leader. Its version
is the feature level that the cluster had when it was proposed: which codes and fields it may hold,
and how it is laid out. A node that does not run that level refuses the entry before anything of it
is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

import taskq.commands  # noqa: F401  # enters the commands into the registry
from taskq.levels import LEVEL_FIRST, LEVEL_LIMIT, LEVEL_MAX
from taskq.registry import MESSAGE_OF, MESSAGES

_HEADS = [bytes((level,)) for level in range(LEVEL_LIMIT + 1)]
_SHAPES: dict[int, tuple[Any, int]] = {
    code: (message.shape, len(message.shape._fields))  # type: ignore[attr-defined]
    for code, message in MESSAGES.items()
}
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


class UnreadableEntry(Exception):
    """Another version made the entry, and this one must not guess what it does."""


def encode_entry(
    elapsed_ms: int, wall_ms: int, commands: Sequence[Any], level: int = LEVEL_FIRST
) -> bytes:
    """The bytes of an entry of that level. Commands are the registry's `NamedTuple`s."""
    coded = [(MESSAGE_OF[type(command)].code, command) for command in commands]
    entry: bytes = _HEADS[level] + _packer.pack((elapsed_ms, wall_ms, coded))
    return entry


def decode_entry(entry: bytes, level_max: int = LEVEL_MAX) -> tuple[int, int, list[Any]]:
    """(elapsed_ms, wall_ms, commands). Raises UnreadableEntry for one of a level above `level_max`,
    and for one with anything that this version does not know."""
    level = entry[0] if entry else 0
    if not LEVEL_FIRST <= level <= level_max:
        raise UnreadableEntry(
            f"it is of feature level {level}, and this version runs levels up to {level_max}: "
            f"start a version that runs level {level}"
        )
    try:
        elapsed, wall, coded = msgpack.unpackb(memoryview(entry)[1:], strict_map_key=False)
        return elapsed, wall, [_command(code, fields) for code, fields in coded]
    except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        text = f"it holds what no version makes at feature level {level} ({error!r:.200})"
        raise UnreadableEntry(text) from error


def _command(code: int, fields: list[Any]) -> Any:
    """The command of a code; trailing fields with a default may be missing in an older entry."""
    shape, count = _SHAPES[code]
    if len(fields) == count:
        return tuple.__new__(shape, fields)  # the call takes four times as long
    return shape(*fields)
