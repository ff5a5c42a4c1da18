"""How far log and state of a folder have come, read from copies: the folder stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.storage.database import Database
from cluster.storage.errors import DataDamaged, NoIdentity, StorageFailed
from cluster.storage.identity import IDENTITY_NAME, Identity, read_identity
from cluster.storage.lock import FolderLock
from cluster.storage.log_check import check_log, check_witness
from cluster.storage.log_records import (
    ENTRY_STOP,
    Entry,
    Head,
    entry_command,
    entry_index,
    entry_key,
    entry_term,
)
from cluster.storage.opening import Condition, check_folder
from cluster.storage.state_records import DATA
from cluster.storage.state_store import read_state_head, verify_state
from cluster.storage.swap import received_name
from cluster.storage.witness import read_witness


@dataclass
class Look:
    """`head`: the log's, None where it is damaged or gone (`log_damage` says how); `last_term`: of
    its last entry; `index`, `terms`: the state's, index -1 where `state_damage`; `records`: the
    values of the keys that were asked for."""

    identity: Identity
    head: Head | None = None
    last_term: int = 0
    log_damage: str = ""
    index: int = -1
    terms: tuple[int, int] = (0, 0)
    state_damage: str = ""
    records: dict[bytes, bytes | None] = field(default_factory=dict)


def look(path: Path, wanted: Sequence[bytes], on_entry: Callable[[Entry], None]) -> Look:
    """Looks at the folder of a stopped node. `wanted`: keys of the state; `on_entry` is called with
    each entry of the log above the state.

    Raises FolderInUse, NoIdentity, NewerFormat, DataDamaged (the identity file), StorageFailed.
    """
    identity = read_identity(path / IDENTITY_NAME)
    if identity is None:
        raise NoIdentity(f"{path} has no {IDENTITY_NAME}; it is not a node's data folder")
    lock = FolderLock(path)
    try:
        found = Look(identity)
        _look_at_state(path, wanted, found)
        _look_at_log(path, on_entry, found)
        return found
    except OSError as error:
        raise StorageFailed(f"looking at {path} failed: {error}") from error
    finally:
        lock.release()


def _look_at_state(path: Path, wanted: Sequence[bytes], found: Look) -> None:
    received = received_name(path / "state")

    def verify(database: Database, condition: Condition) -> None:
        verify_state(database, condition)
        _, _, found.index, found.terms, _ = read_state_head(database)
        found.records = {key: database.get(DATA + key) for key in wanted}

    try:
        check_folder(received if received.exists() else path / "state", verify)
    except DataDamaged as damage:
        found.state_damage = str(damage)


def _look_at_log(path: Path, on_entry: Callable[[Entry], None], found: Look) -> None:
    def verify(database: Database, condition: Condition) -> None:
        number, head = check_log(database)
        check_witness(database, number, head, read_witness(path / "witness"))
        found.head = head
        if not head.last:
            return
        record = database.get(entry_key(head.last))
        assert record is not None  # `check_log` found it
        found.last_term = entry_term(record)
        start = entry_key(max(head.first, found.index + 1))
        for key, value in database.iterate(start, ENTRY_STOP):
            on_entry((entry_index(key), entry_term(value), entry_command(value)))

    try:
        check_folder(path / "log", verify)
    except DataDamaged as damage:
        found.log_damage = str(damage)
