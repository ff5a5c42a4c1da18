"""A replica on a real folder, without a server, and disks that fail when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from cluster.replication import keeper as keeper_module
from cluster.replication.core import DiskPolicy
from cluster.replication.disk_space import DiskSpace
from cluster.replication.replica import Replica
from cluster.replication.surroundings import Surroundings
from cluster.storage.database import Database
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import StorageFailed
from taskq.commands import SubmitTask
from taskq.errors import Refusal
from taskq.machine.settings import Settings


class Client:
    """Proposes and awaits answers; asserts that each comes once."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tag = 0

    def deliver(self, tag: int, value: Any) -> None:
        self._waiting.pop(tag).set_result(value)

    def propose(self, command: Any) -> asyncio.Future[Any]:
        """The answer, when there is one."""
        self._tag += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[self._tag] = future
        self._replica.propose(command, self, self._tag)
        return future

    def submit(self, number: int, size: int = 0) -> asyncio.Future[Any]:
        """A task whose id is the number."""
        return self.propose(SubmitTask(number.to_bytes(16, "big"), "q", "", bytes(size)))

    async def insist(self, number: int) -> None:
        """Submits until it is acknowledged, as the client library does."""
        for _ in range(1000):
            if not isinstance(await self.submit(number), Refusal):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the node does not go on")


async def until(condition: Callable[[], bool]) -> None:
    """Waits for it, 10 s at most."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


def make(directory: DataDirectory, **changes: Any) -> Replica:
    """A replica that is not started."""
    policy = DiskPolicy(
        changes.pop("sync_interval_secs", 0.0),
        changes.pop("checkpoint_interval_secs", 1e9),
        changes.pop("checkpoint_size", 1 << 40),
    )
    space = DiskSpace(directory.free_bytes, 0)
    compact_secs = changes.pop("compact_secs", None)
    return Replica(
        directory,
        policy,
        space,
        Settings(**changes),
        compact_secs=compact_secs,
        surroundings=Surroundings(aside=asyncio.to_thread),
    )


@asynccontextmanager
async def running(path: Path, **changes: Any) -> AsyncIterator[tuple[Replica, Client]]:
    """A started replica; stopped at the end."""
    with DataDirectory.open(path, "n1") as directory:
        replica = make(directory, **changes)
        try:
            await replica.start()
            yield replica, Client(replica)
        finally:
            await replica.stop()


def holds(replica: Replica, number: int) -> bool:
    """Whether the task is in the applied state."""
    return replica.machine.is_final(number.to_bytes(16, "big")) is not None


class Trouble:
    """Which database refuses writes (`log` or `state`), and how often it did."""

    def __init__(self) -> None:
        self.folder = ""
        self.left = 0
        self.refused = 0
        self.later = 0  # writes that came to a handle after it had refused one


@contextmanager
def troubled_disk() -> Iterator[Trouble]:
    """While entered, `trouble.left` writes to `trouble.folder` fail, as with a full disk."""
    trouble = Trouble()
    write = Database.write

    def refusing(self: Database, puts: Any, deletes: Any = ()) -> None:
        if self.failed:
            trouble.later += 1
        if self.directory.name == trouble.folder and trouble.left > 0:
            trouble.left -= 1
            trouble.refused += 1
            self.fail("no space left on device")
            raise StorageFailed(f"writing to {self.directory} failed: no space left on device")
        write(self, puts, deletes)

    with (
        mock.patch.object(Database, "write", refusing),
        mock.patch.object(keeper_module, "REOPEN_SECS", (0.01, 0.05)),
    ):
        yield trouble
