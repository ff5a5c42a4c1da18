"""Ends the log of a stopped node's folder with entries that nobody proposed (offline only).

What the entries say is the caller's; where they go is decided here, by the rule that every start
follows (A12): behind the log where it goes on from the state, behind the state where it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster.storage.log_records import Entry, LogBatch
from cluster.storage.log_store import LogStore
from cluster.storage.state_store import StateStore

# Entries that follow (index, term of the newest thing there is), in terms above it.
MakeEntries = Callable[[tuple[int, int]], list[Entry]]
# In the place of the last two entries of a state (index, their terms).
MakeStandIns = Callable[[int, tuple[int, int]], list[Entry]]


def end_log(path: Path, make_entries: MakeEntries, make_stand_ins: MakeStandIns) -> None:
    """Appends to the log of the folder at `path`, in one batch with the last entry's term, in which
    nobody has voted, and without flags. Nothing is truncated where the log goes on from the state.

    Raises DataDamaged, NewerFormat, StorageFailed.
    """
    state = StateStore.open(path / "state", create=False)
    index, terms = state.index, state.terms
    state.close()
    log = LogStore.open(path / "log", path / "witness", create=False)
    try:
        term = max(log.term, log.last_term, terms[1])
        if _continues(log, index, terms[1]):
            entries = make_entries((log.last_index, term))
            log.write(LogBatch(entries=entries, term=entries[-1][1], flags={}))
        else:  # the state is ahead, or has overtaken another history
            entries = [*make_stand_ins(index, terms), *make_entries((index, term))]
            log.write(LogBatch(rebase=entries, term=entries[-1][1], flags={}))
    finally:
        log.close()


def _continues(log: LogStore, index: int, term: int) -> bool:
    if index <= 1 or index == log.first_index - 1:
        return True
    if not log.first_index <= index <= log.last_index:
        return False
    return log.read(index, 1)[0][1] == term
