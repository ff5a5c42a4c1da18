"""A cluster at work, as a client would tell of it: for pictures and for what is made of them."""

from __future__ import annotations

from typing import Any

from taskq.cli.top_look import Look
from taskq.client.views import QueueStatus, WorkerStatus
from taskq.results import ClusterStatus, MemberRole, MemberView, Stats

GIB = 1 << 30


def member(number: int, role: MemberRole, lag: int | None = 0) -> MemberView:
    index = None if lag is None else 48_201_377 - lag
    heard = {MemberRole.LEADER: None, MemberRole.FOLLOWER: 120}.get(role, 91_000)
    sizes = (None, None) if lag is None else (31 * GIB, 64 << 20)
    where = f"10.0.0.{number}:6379"
    return MemberView(f"node{number}", where, role.value, index, index, lag, heard, *sizes, "")


def cluster(leader: str = "node2", *members: MemberView) -> ClusterStatus:
    three = (
        member(1, MemberRole.FOLLOWER, 3),
        member(2, MemberRole.LEADER),
        member(3, MemberRole.FOLLOWER, 12),
    )
    counts = (7, 48_201_377, 48_201_377)
    return ClusterStatus(
        *("node2", leader, *counts, "c0ffee1234", 93_784_000, list(members or three))
    )


def stats(seconds: float = 0.0, **totals: int) -> Stats:
    """Counts after so many seconds of 2,500 tasks a second."""
    done = int(seconds * 2_500)
    states = {"scheduled": 10_400, "ready": 104_230, "leased": 48, "retrying": 7, "dead": 3}
    counted = {"submitted": 9_000_000 + done, "completed": 8_800_000 + done, "failed": 41}
    counted |= {"claimed": 8_900_000 + done, "lease_expiries": 2, "worker_deaths": 1}
    return Stats(
        *(states, counted | totals, [1] * 17, 100, 1 << 27, 1 << 28, 4_096, 6, 4),
        *(93_784_000, 1_800_000_000_000, "node2", "node2", 7, 48_201_377),
    )


def queue(name: str, *, paused: bool = False, **counts: int) -> QueueStatus:
    fields = ("ready_high", "ready_normal", "ready_low", "scheduled", "retrying", "leased", "dead")
    return QueueStatus(name, paused, 0.0, 30.0, *(counts.get(field, 0) for field in fields))


def queues() -> list[QueueStatus]:
    return [
        queue("mails", ready_high=12, ready_normal=84_000, leased=30),
        queue("thumbnails", ready_normal=18_000, ready_low=2_200, leased=16, dead=3),
        queue("reports.monthly", scheduled=10_400, retrying=7),
        queue("imports:[eu]", paused=True, ready_normal=18),
        queue("billing", leased=2),
        queue("audit"),
    ]


def workers() -> list[WorkerStatus]:
    rows = (("web-1-4711", 16, 16, 97.0), ("web-2-4711", 16, 14, 88.0), ("batch-3", 32, 18, 71.5))
    known = [
        WorkerStatus(f"{n:032x}", name, slots, 1.0 + n, running, cpu, 210 << 20, None)
        for n, (name, slots, running, cpu) in enumerate(rows)
    ]
    return [*known, WorkerStatus("f" * 32, "", 4, 0.2, 0, 0.0, 0, None)]


def look(at: float = 0.0, **changes: Any) -> Look:
    seen: dict[str, Any] = {
        "status": cluster(),
        "stats": stats(at),
        "queues": queues(),
        "workers": workers(),
    }
    return Look(at, **(seen | changes))
