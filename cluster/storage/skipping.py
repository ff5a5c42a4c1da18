"""How a stopped node is told to leave out an entry that stops every node (A14).

On every node alike: whoever does differently has another digest and is found out. Every skip is a
line in the folder's audit file, and one in the node's log when it is carried out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.audit_file import note_act
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import FolderRefused, NoIdentity
from cluster.storage.identity import IDENTITY_NAME, read_identity
from cluster.storage.repair import examine
from cluster.storage.skips import read_skips, write_skips

# The first byte of a regular entry; the others (no-ops, sets of members) stop nobody.
REGULAR = b"\0"


@dataclass(frozen=True, slots=True)
class Skippable:
    """An entry that the state does not hold yet. `checksum`: CRC-32 of `entry`."""

    index: int
    term: int
    entry: bytes

    @property
    def checksum(self) -> int:
        return zlib.crc32(self.entry)


def find_entry(path: Path, index: int) -> Skippable:
    """The entry of a stopped node's whole folder. Raises FolderRefused where it cannot be skipped,
    and what `examine` and an opening raise."""
    identity = read_identity(path / IDENTITY_NAME)
    if identity is None:
        raise NoIdentity(f"{path} has no {IDENTITY_NAME}; it is not a node's data folder")
    if not examine(path).healthy:
        raise FolderRefused(f"{path} is damaged: repair it first")
    with DataDirectory.open(path, identity.node_id) as directory:
        if identity.founding:
            stores = directory.open_member_stores(listed=True)
            log, state = stores.log, stores.state
        else:
            log, state = directory.open_stores()
        try:
            if index <= state.index:
                text = f"entry {index} is part of the state already, which is at {state.index}"
                raise FolderRefused(text)
            if not log.first_index <= index <= log.last_index:
                text = f"the log holds entries {log.first_index} to {log.last_index}, not {index}"
                raise FolderRefused(text)
            ((_, term, command),) = log.read(index, 1)
        finally:
            log.close()
            state.close()
    if command[:1] != REGULAR:
        raise FolderRefused(f"entry {index} holds no commands, and stops nobody")
    return Skippable(index, term, command[1:])


def add_skip(path: Path, found: Skippable) -> None:
    """From its next start on, the node leaves the entry out. Raises OSError, as `read_skips`."""
    skips = {**read_skips(path), found.index: found.checksum}
    facts = {"index": found.index, "term": found.term, "checksum": f"{found.checksum:08x}"}
    note_act(path, "skip an entry", **facts)
    write_skips(path, skips)
