"""Limits that an operator sets and that the machine's outcome depends on.

They are part of the replicated state: the leader proposes its own (`Configure`) when they differ,
so that every node applies every entry with the same limits, whatever its own file says.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from taskq import limits
from taskq.machine import keys
from taskq.machine.record import pack, unpack
from taskq.results import Done

if TYPE_CHECKING:
    from taskq.commands import Configure
    from taskq.machine.state import State

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes, times in milliseconds; wall time for retention, cluster time for the rest."""

    queue_depth_threshold: int = 100_000
    queue_bytes_threshold: int = limits.KIB * limits.MIB
    lease_ms: int = limits.LEASE_MS_DEFAULT
    max_lease_expiries: int = 5
    max_batch_claim: int = 10
    payload_size_max: int = limits.MIB
    result_size_max: int = limits.MIB
    retention_ms: int = 7 * _DAY_MS
    retention_size_max: int = limits.KIB * limits.MIB
    dead_retention_ms: int = 30 * _DAY_MS
    dead_size_max: int = limits.KIB * limits.MIB
    dedup_window_ms: int = limits.DEDUP_WINDOW_MS_DEFAULT

    def as_map(self) -> dict[str, int]:
        """For `Configure`."""
        return asdict(self)


def configure(state: State, command: Configure) -> Done:
    """Takes over the leader's settings. Names that this version does not know are left alone."""
    known = {field.name for field in fields(Settings)}
    changed = {name: value for name, value in command.settings.items() if name in known}
    state.settings = replace(state.settings, **changed)
    state.view.put(keys.SETTINGS, pack(sorted(state.settings.as_map().items())))
    return Done()


def load_settings(record: bytes | None) -> Settings:
    """The settings in the state; the defaults for a new state."""
    if record is None:
        return Settings()
    stored: dict[str, Any] = dict(unpack(record)[0])
    return Settings(**{f.name: stored[f.name] for f in fields(Settings) if f.name in stored})
