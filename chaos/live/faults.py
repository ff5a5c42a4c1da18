"""The faults of `chaos.live.failover`, by the words of its rows: nemeses and their targets."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.live.nemesis import ALL, FOLLOWER, LEADER, MAJORITY, Nemesis
from chaos.live.process_faults import (
    KILL,
    PAUSE,
    ROLLING_RESTART,
    TRANSFER,
    WIPE_RELIED_ON,
)

FAULTS: Mapping[str, tuple[Nemesis, str]] = {
    "leader-crash": (KILL, LEADER),
    "leader-pause": (PAUSE, LEADER),
    "follower-crash": (KILL, FOLLOWER),
    "follower-pause": (PAUSE, FOLLOWER),
    "majority-crash": (KILL, MAJORITY),
    "all-crash": (KILL, ALL),
    "transfer": (TRANSFER, LEADER),
    "follower-wipe": (WIPE_RELIED_ON, FOLLOWER),
    "rolling-restart": (ROLLING_RESTART, ALL),
}
# Nothing breaks: no request may fail.
PLANNED = frozenset(name for name, (nemesis, _) in FAULTS.items() if nemesis.planned)
