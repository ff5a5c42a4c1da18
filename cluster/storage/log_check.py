"""Decides whether a log database is whole: every batch, every entry, terms in order.

Reads all of it once (the log is bounded by its checkpoints), on a copy, before the log is used.
"""

from __future__ import annotations

import struct

from cluster.storage.batches import check_batches, check_format, newest_batch
from cluster.storage.database import OrderedStore
from cluster.storage.errors import DataDamaged
from cluster.storage.log_records import (
    ENTRY_STOP,
    Head,
    decode_head,
    entry_index,
    entry_key,
    entry_term,
)
from cluster.storage.recovery import Recovery
from cluster.storage.witness import Attestation


def read_head(database: OrderedStore) -> tuple[int, Head]:
    """The newest batch's number and head. Raises DataDamaged, NewerFormat, StorageFailed."""
    number, record = newest_batch(database)
    try:
        return number, decode_head(record)
    except ValueError as error:
        raise DataDamaged(database.directory, str(error)) from error


def check_log(database: OrderedStore, recovery: Recovery | None = None) -> tuple[int, Head]:
    """Check every record; the newest batch's number and head. `recovery` hears how far it is.

    Raises DataDamaged naming the first thing that is missing or out of order, NewerFormat,
    StorageFailed.
    """
    number, head = read_head(database)
    check_batches(database, head.floor, number)
    last_term = check_entries(database, head, recovery or Recovery())
    if last_term > head.term:
        raise DataDamaged(
            database.directory, f"the last entry has term {last_term}, the log only {head.term}"
        )
    return number, head


def check_entries(database: OrderedStore, head: Head, recovery: Recovery) -> int:
    """Entries run from first to last without a hole, terms never fall; the last entry's term.

    Raises as `check_log`.
    """
    expected, term = head.first, 0
    recovery.begin("examining the log", head.last - head.first + 1 if head.last else 0)
    for key, record in database.iterate(entry_key(head.first), ENTRY_STOP, fill_cache=False):
        check_format(database, record)
        index = entry_index(key)
        if index != expected or index > head.last:
            raise DataDamaged(
                database.directory,
                f"entry {index} follows entry {expected - 1}; the log should hold "
                f"{head.first} to {head.last}",
            )
        try:
            following = entry_term(record)
        except struct.error as error:
            raise DataDamaged(database.directory, f"entry {index} is cut short") from error
        if following < term:
            raise DataDamaged(
                database.directory, f"entry {index} has term {following} after term {term}"
            )
        expected, term = index + 1, following
        recovery.done += 1
    if head.last and expected != head.last + 1:
        raise DataDamaged(database.directory, f"entries {expected} to {head.last} are missing")
    return term


def check_witness(
    database: OrderedStore, number: int, head: Head, attestation: Attestation | None
) -> None:
    """The log reaches at least as far as its witness saw. Raises DataDamaged."""
    if attestation is None:
        return
    if attestation.log_id != head.log_id:
        raise DataDamaged(database.directory, "the witness belongs to another log")
    if attestation.number > number:
        raise DataDamaged(
            database.directory,
            f"batches {number + 1} to {attestation.number} were synced and are gone",
        )
