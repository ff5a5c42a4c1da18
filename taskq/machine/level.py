"""The cluster's feature level as part of the state, and the entry that raises it (A14).

    1 --RaiseLevel(2)--> 2 --RaiseLevel(3)--> ...      never back

A state that never had one raised holds no record of it. Whether all members can run a level is the
leader's to find out before it proposes the entry; here it is carried out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.levels import LEVEL_FIRST
from taskq.machine import keys
from taskq.machine.record import pack, unpack
from taskq.results import Done

if TYPE_CHECKING:
    from taskq.commands import RaiseLevel
    from taskq.machine.state import State


def raise_level(state: State, command: RaiseLevel) -> Done:
    """The commands behind this one are carried out at the new level. A lower one, or the same
    again, changes nothing."""
    if command.level > state.level:
        state.level = command.level
        state.view.put(keys.LEVEL, pack(command.level))
    return Done()


def load_level(record: bytes | None) -> int:
    """The level of a state with this record, or none."""
    if record is None:
        return LEVEL_FIRST
    level: int = unpack(record)[0]
    return level
