"""Takes all that a cluster still has to give, when everything else is over.

A task that is there and READY, but in no place where a claim finds it, would be lost all the same.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Sequence

from chaos.history import Final
from taskq import AsyncClient, AsyncWorkerSession

CLAIMS_COUNT = 32  # under way at once
# What one worker may hold at most is 10,000.
HOLDS_COUNT_MAX = 9_000
CLAIM_COUNT = 10  # what comes with one claim at most, unless a broker says otherwise
# Nothing comes back while it goes on, and while what is given out is compared afterwards.
LEASE_SECS = 600.0


async def give_out(client: AsyncClient, final: Final) -> dict[str, list[int]]:
    """Claims until nothing is ready: the id of each task that came, and the checksums of the
    payloads that came for it, one for each time. Gives all back at the end, by farewells.

    Nothing else may be running. Raises TaskqError.
    """
    queues = sorted({task["queue"] for task in final.tasks.values()})
    given: dict[str, list[int]] = defaultdict(list)
    if not queues:
        return given
    found = await asyncio.gather(*(_claim(client, queues, given) for _ in range(CLAIMS_COUNT)))
    await asyncio.gather(*(worker.deregister() for workers in found for worker in workers))
    return dict(given)


async def _claim(
    client: AsyncClient, queues: Sequence[str], given: dict[str, list[int]]
) -> list[AsyncWorkerSession]:
    """One claim after the other, until one brings nothing; the workers that claimed."""
    workers: list[AsyncWorkerSession] = []
    held = HOLDS_COUNT_MAX
    while True:
        if held >= HOLDS_COUNT_MAX:
            workers.append(client.worker(heartbeat_interval=LEASE_SECS))
            await workers[-1].register()
            held = 0
        tasks = await workers[-1].claim(queues, CLAIM_COUNT, lease=LEASE_SECS)
        if not tasks:
            return workers
        held += len(tasks)
        for task in tasks:
            given[task.task_id.hex()].append(zlib.crc32(task.payload))
