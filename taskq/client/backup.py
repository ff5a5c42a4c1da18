"""Fetches a backup from one node of a cluster, piece by piece.

The state is read from that node's disk, so that its connection is the only one used: a change of
leader meanwhile does not matter, the end of the node ends the backup.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import AsyncIterator
from typing import Self

from taskq.backup.file_format import Head
from taskq.backup_results import BackupBegun, BackupChunk
from taskq.client.address import (
    URL_DEFAULT,
    URL_VARIABLE,
    Address,
    Target,
    parse_address,
    parse_url,
)
from taskq.client.asynchronous import AsyncClient
from taskq.client.channel import Channel
from taskq.commands import BeginBackup, EndBackup, GetCluster, Ping, ReadBackup
from taskq.errors import ConnectionFailed, PermissionDenied, ProtocolError, TaskqError
from taskq.quorum import OUTSIDE
from taskq.results import ClusterStatus, MemberRole, MemberView

# The node answers when its disk has what was acknowledged before: about a second. A loaded one may
# take longer, and so may a chunk. Seconds.
PATIENCE_SECS = 15.0


class BackupInterrupted(TaskqError):
    """The node that was read from is gone, or cannot read its state any more: begin anew."""


class BackupSource:
    """A state that is open to be read at a node; an async context manager. `head` tells whose."""

    def __init__(self, channel: Channel, begun: BackupBegun, *, stale: bool) -> None:
        self._channel = channel
        self._number = begun.backup
        self._done = False
        self.size = begun.size
        self.head = Head(
            *(begun.cluster_id, begun.node_id, begun.server_version, begun.at_index),
            *((begun.terms[0], begun.terms[1]), begun.digest, begun.record_format),
            begun.member_count,
            stale,
            time.time_ns() // 1_000_000,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if not self._done:
                await self._channel.send(EndBackup(self._number), 1.0)
        except TaskqError:
            pass  # the end of the connection ends it, too
        finally:
            await self._channel.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Every chunk, checked. Raises BackupInterrupted."""
        while True:
            try:
                chunk = await self._chunk()
                if not chunk:
                    await self._channel.send(EndBackup(self._number), PATIENCE_SECS)
                    self._done = True
                    return
            except TaskqError as error:
                raise BackupInterrupted(
                    f"{self.head.node_id} does not give the rest of its state: {error}"
                ) from error
            yield chunk

    async def _chunk(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            reply: BackupChunk = await self._channel.send(ReadBackup(self._number), PATIENCE_SECS)
            pieces.append(reply.data)
            if not reply.more:
                break
        chunk = b"".join(pieces)
        if zlib.crc32(chunk) != reply.crc:
            raise ProtocolError("a chunk does not match its checksum")
        return chunk


async def open_backup(
    url: str | None,
    *,
    node: str = "",
    stale: bool = False,
    timeout: float = PATIENCE_SECS,  # noqa: ASYNC109 - the repeats share it
) -> BackupSource:
    """Opens the state of a node: `node` is its id or address; empty: a follower, where one can be
    reached, so that the leader has nothing to do with it.

    It holds all that was acknowledged before this was called; with `stale` what the node's disk has
    just now. Raises ValueError for a node that the cluster does not name, TaskqError.
    """
    async with AsyncClient(url, timeout=timeout, name="taskq backup") as client:
        least_index = 0 if stale else (await client.stats()).applied_index
        status: ClusterStatus = await client.call(GetCluster(stale=True))
        places = _places(
            status, node, parse_url(url or os.environ.get(URL_VARIABLE) or URL_DEFAULT)
        )
        failure: TaskqError | None = None
        for place in places:
            channel = Channel(url, timeout, "taskq backup", None, only=place)
            try:
                await channel.send(Ping(), timeout / len(places))
                begun = await channel.send(BeginBackup(least_index), PATIENCE_SECS)
                return BackupSource(channel, begun, stale=stale)
            except BaseException as error:
                await channel.close()
                if isinstance(error, PermissionDenied) or not isinstance(error, TaskqError):
                    raise
                failure = error
    raise failure or ConnectionFailed("no node has told its address")


def _places(status: ClusterStatus, node: str, target: Target) -> list[Address]:
    """Where to ask, one after the other: followers, the leader, wherever the url leads to."""
    members = [MemberView(*member) for member in status.members]
    known = {one.node_id: one.address for one in members if one.address}
    if node:
        if node not in known and ":" not in node:
            names = ", ".join(member.node_id for member in members)
            raise ValueError(f"{node} is no member whose address is known; members are {names}")
        return [parse_address(known.get(node, node))]
    unfit = (MemberRole.NON_VOTING, MemberRole.UNREACHABLE, *OUTSIDE)
    fit = [one.node_id for one in members if one.role not in unfit and one.node_id in known]
    fit.sort(key=lambda node_id: node_id == status.leader)
    return list(dict.fromkeys([*(parse_address(known[one]) for one in fit), *target.addresses]))
