"""Backups that clients are reading from this node: which connection reads which, and how many.

    BeginBackup --> open --ReadBackup, ReadBackup, ...--> the end --EndBackup--> closed
                      `-- connection lost, or nothing read for 30 s --> closed

The client asks for each piece, so that a slow one is never sent more than it takes.
"""

from __future__ import annotations

import asyncio
import zlib
from functools import partial

import structlog

from cluster.server.replica import Export, Replica
from cluster.server.requester import Requester, Tag
from taskq.backup_results import BackupBegun, BackupChunk
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import DEADLINE_MS_DEFAULT, MIB
from taskq.machine import keys
from taskq.results import Done

log = structlog.get_logger(__name__)

# Each holds a state that compactions cannot drop, and a core at times.
COUNT_MAX = 2
# A client that has gone without a word holds the state no longer. Seconds.
IDLE_SECS = 30.0
# A chunk ends with a whole pair, which may fill a frame: it travels in pieces of this size.
PIECE_SIZE = 4 * MIB
RETRY_AFTER_MS = 5_000


class _Backup:
    """One that is open. `rest`: what is left to send of a chunk whose CRC-32 is `crc`."""

    def __init__(self, number: int, session: Requester, export: Export) -> None:
        self.number = number
        self.session = session
        self.export = export
        self.tag: Tag | None = None  # the request that waits for the disk
        self.rest = b""
        self.crc = 0
        self.size = 0
        self.timer: asyncio.TimerHandle | None = None


class Backups:
    """See the module."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, replica: Replica, server_version: str
    ) -> None:
        self._loop = loop
        self._replica = replica
        self._server_version = server_version
        self._open: dict[int, _Backup] = {}
        self._opening: dict[Requester, Tag] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._open) + len(self._opening)

    # --- requests ---------------------------------------------------------------------------------

    def begin(self, session: Requester, tag: Tag) -> None:
        """BeginBackup: answered when the disk has what is asked for."""
        if session.remote:
            session.answer(tag, refuse(ErrorCode.WRONG_STATE, "a backup is not passed on"))
        elif len(self) >= COUNT_MAX or session in self._opening:
            text = f"this node is read for {len(self)} backups already"
            session.answer(tag, refuse(ErrorCode.TOO_MANY_REQUESTS, text, RETRY_AFTER_MS))
        else:
            arrival, request = tag
            deadline = arrival + (request.deadline_ms or DEADLINE_MS_DEFAULT) / 1000
            self._opening[session] = tag
            opened = partial(self._opened, session, tag)
            self._replica.exports.begin(request.command.least_index, deadline, opened)

    def _opened(self, session: Requester, tag: Tag, export: Export | Refusal) -> None:
        del self._opening[session]
        if isinstance(export, Refusal):
            session.answer(tag, export)
        elif not session.wants(tag):
            self._replica.exports.end(export)
            session.answer(tag, None)
        else:
            self._number += 1
            backup = self._open[self._number] = _Backup(self._number, session, export)
            self._watch(backup)
            log.info("a backup begins", index=export.index, size=export.size)
            session.answer(tag, self._begun(backup))

    def _begun(self, backup: _Backup) -> BackupBegun:
        replica, export = self._replica, backup.export
        return BackupBegun(
            *(backup.number, replica.cluster_id, replica.node_id, self._server_version),
            *(export.index, list(export.terms), export.digest, keys.FORMAT),
            *(len(replica.members()), export.size),
        )

    def read(self, session: Requester, tag: Tag) -> None:
        """ReadBackup: the next piece."""
        backup = self._find(session, tag)
        if backup is None:
            return
        if backup.tag is not None:
            text = "the piece before has not been answered yet"
            session.answer(tag, refuse(ErrorCode.WRONG_STATE, text))
            return
        self._watch(backup)
        if backup.rest:
            self._send(backup, tag)
        else:
            backup.tag = tag
            self._replica.exports.read(backup.export, partial(self._read, backup))

    def _read(self, backup: _Backup, data: bytes | Refusal) -> None:
        tag, backup.tag = backup.tag, None
        assert tag is not None
        if isinstance(data, Refusal):
            self._close(backup)
            backup.session.answer(tag, data)
            return
        backup.rest, backup.crc = data, zlib.crc32(data)
        backup.size += len(data)
        self._send(backup, tag)

    def _send(self, backup: _Backup, tag: Tag) -> None:
        piece, backup.rest = backup.rest[:PIECE_SIZE], backup.rest[PIECE_SIZE:]
        backup.session.answer(tag, BackupChunk(piece, bool(backup.rest), backup.crc))

    def end(self, session: Requester, tag: Tag) -> None:
        """EndBackup."""
        backup = self._find(session, tag)
        if backup is not None:
            self._close(backup)
            session.answer(tag, Done())

    def _find(self, session: Requester, tag: Tag) -> _Backup | None:
        """The backup that a request names; answers one that names none of this connection's."""
        backup = self._open.get(tag[1].command.backup)
        if backup is not None and backup.session is session:
            return backup
        text = "no such backup on this connection: it ended, or the connection was lost meanwhile"
        session.answer(tag, refuse(ErrorCode.NOT_FOUND, text))
        return None

    # --- the end ----------------------------------------------------------------------------------

    def forget(self, session: Requester) -> None:
        """The session's connection was lost."""
        for backup in [one for one in self._open.values() if one.session is session]:
            self._close(backup)

    def _watch(self, backup: _Backup) -> None:
        if backup.timer is not None:
            backup.timer.cancel()
        backup.timer = self._loop.call_later(IDLE_SECS, self._abandoned, backup)

    def _abandoned(self, backup: _Backup) -> None:
        if backup.tag is not None:  # the disk takes its time
            self._watch(backup)
            return
        log.warning("a backup was not read on", size=backup.size)
        self._close(backup)

    def _close(self, backup: _Backup) -> None:
        if self._open.pop(backup.number, None) is None:
            return
        if backup.timer is not None:
            backup.timer.cancel()
        log.info("a backup ends", index=backup.export.index, size=backup.size)
        self._replica.exports.end(backup.export)

    def stop(self) -> None:
        """Nothing is read any more."""
        for backup in list(self._open.values()):
            self._close(backup)
