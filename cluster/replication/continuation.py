"""Whether a log and a state belong together (A12)."""

from __future__ import annotations

from cluster.replication.journal import LogJournal


class LogConflict(Exception):
    """The log and the state tell different histories; see the message."""


def holds_state(journal: LogJournal, index: int, term: int) -> bool:
    """A12: whether the log continues a state at this index, whose last entry has this term.

    False where the log ends before it: after a repair, or when a snapshot was swapped in and the
    node stopped before the log was rebased. A log that starts right after the state continues it,
    too (a repair may leave it so). Raises LogConflict where the log holds another entry there.
    """
    if index <= 1:
        return True
    if not len(journal) or journal.last_index < index:
        return False
    if index < journal.first_index:
        return True
    held: int = journal.entries(index, 1)[0][2]
    if held != term:
        text = f"entry {index} has term {held} in the log and {term} in the state"
        raise LogConflict(f"{text}; do they come from the same folder?")
    return True
