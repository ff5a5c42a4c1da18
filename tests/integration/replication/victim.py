"""A process that forks replicas on demand, to be killed: forking saves the imports of each.

request, a line on stdin:   folder  number  sync interval  checkpoint size
answer, lines on stdout:    pid, then by the child: `a <number>` submit acknowledged, `c <number>`
                            completion acknowledged
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import structlog

from taskq.commands import ClaimTask, TaskResult
from taskq.errors import Refusal
from tests.integration.replication.node import Client, running

WORKER = b"w" * 16


def say(text: str) -> None:
    """One write per line: a kill never leaves half of one inside another."""
    os.write(1, f"{text}\n".encode())


async def submit(client: Client, number: int) -> None:
    if not isinstance(await client.submit(number, number % 500), Refusal):
        say(f"a {number}")


async def work(client: Client, number: int) -> None:
    claimed = await client.propose(ClaimTask(WORKER, number, number, ["q"], 5))
    if isinstance(claimed, Refusal):
        return
    for task in claimed.tasks:
        answer = await client.propose(TaskResult(task.task_id, task.token, True, b"r"))
        if not isinstance(answer, Refusal):
            say(f"c {int.from_bytes(task.task_id, 'big')}")


async def serve(folder: Path, number: int, interval: float, checkpoint_size: int) -> None:
    policy = {"sync_interval_secs": interval, "checkpoint_size": checkpoint_size}
    async with running(folder, **policy) as (_, client):
        while True:
            tasks = [asyncio.create_task(submit(client, number + one)) for one in range(20)]
            tasks.append(asyncio.create_task(work(client, number)))
            await asyncio.gather(*tasks)
            number += 20


def main() -> None:
    """Until stdin ends."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        folder, number, interval, checkpoint_size = line.split()
        pid = os.fork()
        if not pid:
            asyncio.run(serve(Path(folder), int(number), float(interval), int(checkpoint_size)))
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("gone")


if __name__ == "__main__":
    main()
