"""Builds new databases from what can be kept of damaged ones, and sets the originals aside.

Behind `taskq repair DIR`. Run `examine` first and show it; `repair` refuses to lose anything unless
told to. Every new database is built beside the old one, synced and verified before the swap.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.storage.batches import FENCE, batch_key
from cluster.storage.database import Database
from cluster.storage.errors import DataDamaged, FolderRefused, NoIdentity, StorageFailed
from cluster.storage.examination import (
    Examination,
    LogPlan,
    LogReport,
    StatePlan,
    StateReport,
    cut_condition,
    examine_log,
    examine_state,
)
from cluster.storage.files import discard_unfinished, sync_tree
from cluster.storage.identity import IDENTITY_NAME, read_identity
from cluster.storage.lock import FolderLock
from cluster.storage.log_check import check_log
from cluster.storage.log_records import (
    ENTRY_STOP,
    Head,
    encode_head,
    encode_tail,
    entry_index,
    entry_key,
)
from cluster.storage.opening import copy_folder, create_whole
from cluster.storage.salvage import salvaged_copy
from cluster.storage.state_records import DATA, after_prefix, encode_state_head
from cluster.storage.state_store import BLOOM_FILTER_BITS, StateStore, read_state_head
from cluster.storage.swap import finish_swap, put_received, ready_name, received_name, swap_in
from cluster.storage.unfinished import refuse_unfinished

REPAIRED_FLAG = "repaired"  # the log may lack entries or a vote; in a cluster see rule A8
CHUNK_SIZE = 4 * 1024 * 1024  # bytes per write batch while building


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done. `set_aside`: where the originals are now."""

    examination: Examination
    set_aside: list[Path]


def examine(path: Path) -> Examination:
    """Look at the data folder `path`; nothing in it is changed.

    Raises FolderInUse (stop the node first), NoIdentity, NewerFormat, DataDamaged (the identity
    file itself), StorageFailed.
    """
    lock = _lock(path)
    try:
        return _examine(path)
    except OSError as error:
        raise StorageFailed(f"examining {path} failed: {error}") from error
    finally:
        lock.release()


def repair(path: Path, *, accept_loss: bool = False) -> Repaired:
    """Repair the data folder `path` as `examine` says.

    Raises FolderRefused if acknowledged data would be lost and `accept_loss` is False, and what
    `examine` raises. After a crash in between, run it again.
    """
    lock = _lock(path)
    try:
        refuse_unfinished(path)
        finish_swap(path / "log")
        finish_swap(path / "state")
        put_received(path / "state")
        found = _examine(path)
        if not found.lossless and not accept_loss:
            raise FolderRefused("; ".join(found.lines()))
        originals: list[Path | None] = []
        if found.log.plan is LogPlan.KEEP_RUN:
            _build_log(path / "log", found.log)
        if found.state.plan is not StatePlan.KEEP:
            _build_state(path / "state", found.state)
            originals.append(swap_in(path / "state"))
        if found.log.plan is LogPlan.KEEP_RUN:
            originals.append(swap_in(path / "log"))
        return Repaired(found, [original for original in originals if original is not None])
    except OSError as error:
        raise StorageFailed(f"repairing {path} failed: {error}") from error
    finally:
        lock.release()


def _lock(path: Path) -> FolderLock:
    if read_identity(path / IDENTITY_NAME) is None:
        raise NoIdentity(f"{path} has no {IDENTITY_NAME}; it is not a node's data folder")
    return FolderLock(path)


def _examine(path: Path) -> Examination:
    log = examine_log(path / "log", path / "witness")
    # What a node received whole is the state from now on; `repair` puts it in its place first.
    received = received_name(path / "state")
    state = examine_state(received if received.exists() else path / "state")
    found = Examination(path, log, state)
    starts_at_one = bool(log.runs) and log.runs[0][0] == 1
    if state.damage is None and not log.last:
        log.last = state.index
    if state.index >= 0 and not _continued(log, state.index):
        if state.damage is None:
            state.damage = DataDamaged(
                path / "state", f"it ends at entry {state.index}, before the log starts"
            )
        state.index = -1
    if state.damage is not None:
        if state.index >= 0:
            state.plan = StatePlan.CUT
        elif starts_at_one:
            state.plan, state.index = StatePlan.REBUILD, 0
        else:
            state.plan, found.unknown_loss = StatePlan.SALVAGE, True
    _choose_run(found)
    return found


def _continued(log: LogReport, index: int) -> bool:
    """Whether nothing is missing between a state at `index` and the readable log."""
    return index >= log.last or any(first <= index + 1 <= last for first, last in log.runs)


def _choose_run(found: Examination) -> None:
    """Which readable entries are kept: those that continue the state, without a hole."""
    log, index = found.log, found.state.index
    if log.plan is LogPlan.KEEP:
        return
    runs = [run for run in log.runs if run[0] <= index + 1 and index <= run[1]]
    if index < 0:  # a salvaged state: the newest entries are worth the most
        runs = log.runs[-1:]
    log.keep = runs[-1] if runs else (0, 0)
    end = max(log.keep[1], index)
    if end < log.last:
        found.lost.append((end + 1, log.last))
    attestation = log.attestation.number if log.attestation else 0
    if attestation > log.number or log.attestation is None or log.head is None:
        found.unknown_loss = True  # synced batches are gone, and with them what they held


def _build_log(directory: Path, log: LogReport) -> None:
    """Build the new log at its ready name: the kept entries under one head.

    It goes on with the old log's id and a batch number above the witness's, so that the witness
    stays true whether or not a crash comes before the swap.
    """
    known = log.head or Head(
        log.attestation.log_id if log.attestation else secrets.randbits(63) + 1
    )
    if log.attestation is not None:
        known = replace(known, log_id=log.attestation.log_id)
    number = max(log.number, log.attestation.number if log.attestation else 0) + 1
    first, last = log.keep
    ready = ready_name(directory)
    discard_unfinished(ready)

    def fill(database: Database) -> None:
        term = known.term
        if last:
            with salvaged_copy(directory) as source:
                term = max(term, _copy_entries(source, database, first, last))
        head = Head(
            known.log_id,
            number,
            first,
            last,
            first,
            term,
            min(known.commit_index, last),
            known.vote if term == known.term else None,
            {**known.flags, REPAIRED_FLAG: 1},
        )
        database.write(
            [(batch_key(number), encode_head(head, encode_tail(head.vote, head.flags))), FENCE]
        )
        check_log(database)

    create_whole(ready, fill)


def _copy_entries(source: Database, target: Database, first: int, last: int) -> int:
    """Copy entries `first` to `last`; the last one's term."""
    term = 0
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    for key, record in source.iterate(entry_key(first), ENTRY_STOP):
        if entry_index(key) > last:
            break
        term = int.from_bytes(record[1:9], "big")
        chunk.append((key, record))
        size += len(record)
        if size >= CHUNK_SIZE:
            target.write(chunk)
            chunk, size = [], 0
    target.write(chunk)
    return term


def _build_state(directory: Path, state: StateReport) -> None:
    """Build the new state at its ready name."""
    ready = ready_name(directory)
    discard_unfinished(ready)
    if state.plan is StatePlan.REBUILD:
        StateStore.create(ready)
        return
    if state.plan is StatePlan.CUT:
        copy_folder(cut_condition(directory), ready)
        sync_tree(ready)
        return

    def fill(database: Database) -> None:
        index, terms, digest = 0, (0, 0), 0
        if directory.exists() and any(directory.iterdir()):
            with salvaged_copy(directory) as source:
                _copy_pairs(source, database)
                index, terms, digest = read_state_head(source)[2:]
        database.write([(batch_key(1), encode_state_head(1, index, terms, digest)), FENCE])

    create_whole(ready, fill, bloom_filter_bits=BLOOM_FILTER_BITS)


def _copy_pairs(source: Database, target: Database) -> None:
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in source.iterate(DATA, after_prefix(DATA)):
        chunk.append((key, value))
        size += len(key) + len(value)
        if size >= CHUNK_SIZE:
            target.write(chunk)
            chunk, size = [], 0
    target.write(chunk)
