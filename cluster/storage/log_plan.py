"""Turns a log batch into keys to put and delete, and into the head that follows: pure.

A batch that breaks the order of the log is a bug of the caller; it is refused whole, before
anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.storage.log_records import Head, LogBatch, encode_entry, entry_key

# A checkpoint may drop hundreds of thousands of entries; deleting them a few per batch keeps any
# one write short, and still overtakes the entries that arrive, one or two per batch.
DELETIONS_PER_BATCH = 16


@dataclass(slots=True)
class Plan:
    """What to write, without the batch record. `size`: bytes of the commands; `last_term`: term
    of the last entry afterwards."""

    head: Head
    last_term: int
    size: int = 0
    puts: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)


def plan_batch(
    head: Head, last_term: int, batch: LogBatch, floor: int, term_at: Callable[[int], int]
) -> Plan:
    """The plan for `batch` on a log with `head`, whose last entry has `last_term`.

    `floor` goes into the new head; `term_at(index)` reads the term of an entry from the disk.
    Raises ValueError for a batch that breaks the order of the log.
    """
    plan = Plan(head, last_term)
    first, last, lowest = head.first, head.last, head.lowest
    entries = batch.entries
    if batch.rebase is not None:
        if len(batch.rebase) < 2 or batch.truncate_from is not None:
            raise ValueError("a rebase takes at least two entries and no truncation")
        plan.deletes.extend(entry_key(index) for index in range(lowest, last + 1) if index)
        first = last = lowest = plan.last_term = 0
        entries = [*batch.rebase, *entries]
    elif batch.truncate_from is not None:
        start = batch.truncate_from
        if start <= head.commit_index or start < first:
            raise ValueError(f"truncating from {start} removes committed entries")
        plan.deletes.extend(entry_key(index) for index in range(start, last + 1))
        last = min(last, start - 1)
        plan.last_term = term_at(last) if last >= first and last else 0
        if last < first:  # what waits below for its deletion goes at once, so that none is left
            plan.deletes.extend(entry_key(index) for index in range(lowest, first) if index)
            first = last = lowest = 0
    for index, term, command in entries:
        if (last and index != last + 1) or index < 1 or term < plan.last_term:
            raise ValueError(
                f"entry {index} of term {term} cannot follow {last} of term {plan.last_term}"
            )
        if not last:
            first = lowest = index
        last, plan.last_term = index, term
        plan.puts.append((entry_key(index), encode_entry(term, command)))
        plan.size += len(command)
    if batch.drop_below is not None:
        if batch.drop_below > last:
            raise ValueError(f"dropping below {batch.drop_below} would empty the log")
        first = max(first, batch.drop_below)
    # Only what an earlier batch dropped: a reader may be at what this one drops.
    stop = min(lowest + DELETIONS_PER_BATCH, head.first, first)
    if stop > lowest:
        plan.deletes.extend(entry_key(index) for index in range(lowest, stop))
        lowest = stop
    term, vote = _term_and_vote(head, batch)
    if plan.last_term > term:
        raise ValueError(f"an entry of term {plan.last_term} in a log of term {term}")
    commit = head.commit_index if batch.commit_index is None else batch.commit_index
    flags = head.flags if batch.flags is None else dict(batch.flags)
    plan.head = Head(head.log_id, floor, first, last, lowest, term, commit, vote, flags)
    return plan


def _term_and_vote(head: Head, batch: LogBatch) -> tuple[int, str | None]:
    """Term and vote after the batch. Raises ValueError for what would allow a second vote."""
    if batch.term is None:
        if batch.vote is not None:
            raise ValueError("a vote is written together with its term")
        return head.term, head.vote
    if batch.term < head.term:
        raise ValueError(f"term {batch.term} after term {head.term}")
    if batch.term == head.term and head.vote is not None and batch.vote != head.vote:
        raise ValueError(f"vote {batch.vote} after vote {head.vote} in term {head.term}")
    return batch.term, batch.vote
