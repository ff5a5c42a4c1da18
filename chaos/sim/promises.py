"""What a history of the simulation must show beyond `chaos.checkers`: stale reads and TTLs."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.checkers import FINAL, ROUNDING_SECS
from chaos.history import History


def unkept(history: History) -> Iterator[str]:
    """One sentence for each broken promise."""
    yield from stale_reads(history)
    yield from expired_early(history)


def stale_reads(history: History) -> Iterator[str]:
    """P7: who allows an old answer gets one of what was committed: tokens only grow, ends stay."""
    assert history.final is not None
    for call in history.of("stale status"):
        if not call.ok:
            continue
        task_id, seen = call.args["id"], call.reply
        found = history.final.tasks.get(task_id)
        if found is None:
            yield f"task {task_id}: seen by a stale read at {call.end:.3f}, and gone"
        elif seen["token"] > found["token"]:
            yield f"task {task_id}: a stale read saw token {seen['token']}, it has {found['token']}"
        elif seen["state"] in FINAL and seen["state"] != found["state"]:
            yield f"task {task_id}: a stale read saw {seen['state']}, it is {found['state']}"


def expired_early(history: History) -> Iterator[str]:
    """P8: a TTL is over at the earliest when the fastest clock says so."""
    first: dict[str, float] = {}
    for call in history.of("submit"):
        ttl = call.args["ttl_secs"]
        if ttl is not None and call.maybe:
            task_id = call.args["id"]
            due = call.start + call.args["delay_secs"] + ttl
            first[task_id] = min(first.get(task_id, due), due)
    for kind in ("status", "stale status"):
        for call in history.of(kind):
            if not call.ok or call.reply["state"] != "EXPIRED":
                continue
            task_id = call.args["id"]
            if task_id not in first or call.end < first[task_id] - ROUNDING_SECS:
                due = first.get(task_id, 0.0)
                yield f"task {task_id}: expired at {call.end:.3f}, due at {due:.3f} at the earliest"
