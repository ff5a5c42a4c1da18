"""All duties of the leader, for the runner."""

from __future__ import annotations

from cluster.monitors import leases, retention, time_mark
from cluster.monitors.runner import Duty


def duties() -> list[Duty]:
    """One of each."""
    return [
        Duty("leases", leases.propose, leases.wake_ms),
        Duty("retention", retention.propose, retention.wake_ms, retention.warning),
        Duty("time mark", time_mark.propose, time_mark.wake_ms),
    ]
