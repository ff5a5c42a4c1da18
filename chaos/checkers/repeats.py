"""A request that is repeated brings nothing new (P4): what is known only to who asks twice."""

from __future__ import annotations

from chaos.history import Call


def repeated_claim(first: Call, again: Call) -> str | None:
    """P4: a claim asked once more brings none but its own tasks.

    `again` has the same worker and number. A worker that may have been taken for dead since is
    forgotten with its numbers: then a repeat counts as a first claim, under new tokens.
    """
    if not again.ok or again.end >= first.start + first.args["dead_secs"]:
        return None
    before = {one["token"] for one in first.reply["grants"]}
    now = {one["token"] for one in again.reply["grants"]}
    if now <= before:
        return None
    return f"claim repeated: tokens {sorted(now)}, before {sorted(before)}"
