"""The leader's duties, in the order in which they are looked at."""

from __future__ import annotations

from cluster.monitors import leases, retention, time_mark
from cluster.monitors.runner import Duty


def standard_duties() -> list[Duty]:
    """What every node does while it leads."""
    return [
        Duty("leases", leases.propose, leases.wake_ms),
        Duty("retention", retention.propose, retention.wake_ms, retention.warning),
        Duty("time mark", time_mark.propose, time_mark.wake_ms),
    ]
