"""The claim loop against a queue of the test's: how many claims, how large, how many wait."""

from __future__ import annotations

import asyncio

import pytest

from taskq.results import ClaimedTask
from taskq.worker.claims import CLAIMS_MAX, Claims

WAIT_SECS = 20.0


class Queue:
    """Answers claims when told to, with what it holds; counts what the worker has taken."""

    def __init__(self, count: int, batch_max: int, room: int) -> None:
        self.count = count
        self.batch_max = batch_max
        self.room = room
        self.taken = 0
        self.claims: list[tuple[int, float]] = []
        self.open: list[tuple[int, asyncio.Future[list[ClaimedTask]]]] = []
        self.waiting: list[tuple[int, asyncio.Future[list[ClaimedTask]]]] = []
        self.changed = asyncio.Event()
        self.loop = Claims(
            self.claim,
            self.take,
            lambda: self.room - self.taken,
            lambda asked: self.taken + asked <= 2,
            self.changed,
            WAIT_SECS,
        )

    async def claim(self, count: int, wait_secs: float) -> list[ClaimedTask]:
        self.claims.append((count, wait_secs))
        answer: asyncio.Future[list[ClaimedTask]] = asyncio.get_running_loop().create_future()
        (self.waiting if wait_secs else self.open).append((count, answer))
        return await answer

    def take(self, tasks: list[ClaimedTask]) -> None:
        self.taken += len(tasks)

    async def answer(self) -> None:
        """Answers all claims that are open, those that wait only with tasks."""
        await asyncio.sleep(0)
        for held in (self.open, self.waiting):
            for asked, answer in list(held):
                given = min(asked, self.count, self.batch_max)
                if given or held is self.open:
                    held.remove((asked, answer))
                    self.count -= given
                    answer.set_result([None] * given)  # type: ignore[list-item]
        for _ in range(5):
            await asyncio.sleep(0)


async def claiming(queue: Queue) -> asyncio.Task[None]:
    task = asyncio.create_task(queue.loop.claim_all())
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_an_empty_queue_has_one_claim_that_waits() -> None:
    queue = Queue(0, 10, 4)
    task = await claiming(queue)
    await queue.answer()
    assert queue.claims == [(4, WAIT_SECS)]
    queue.count = 1
    await queue.answer()
    assert queue.claims == [(4, WAIT_SECS), (3, WAIT_SECS)]
    task.cancel()


async def test_a_backlog_has_many_claims_and_none_waits() -> None:
    queue = Queue(10_000, 10, 1_000)
    task = await claiming(queue)
    await queue.answer()
    assert 2 <= len(queue.open) <= CLAIMS_MAX
    assert not queue.waiting
    for _ in range(10):
        await queue.answer()
    assert queue.taken + sum(asked for asked, _ in queue.open) <= queue.room
    assert queue.taken > 900
    task.cancel()


async def test_a_drained_backlog_ends_with_one_claim_that_waits() -> None:
    queue = Queue(35, 10, 500)
    task = await claiming(queue)
    for _ in range(5):
        await queue.answer()
    assert queue.taken == 35
    assert queue.open == []
    assert len(queue.waiting) == 1
    task.cancel()


@pytest.mark.parametrize("batch_max", [1, 3, 10, 100])
async def test_all_of_a_backlog_is_claimed_whatever_comes_with_one_claim(batch_max: int) -> None:
    queue = Queue(600, batch_max, 2_000)
    task = await claiming(queue)
    rounds = 0
    while queue.count and rounds < 700:
        await queue.answer()
        rounds += 1
    assert queue.taken == 600
    # Side by side: far fewer rounds than claims.
    assert rounds <= max(8, 600 / batch_max / 8), rounds
    task.cancel()


async def test_room_is_never_overdrawn() -> None:
    queue = Queue(10_000, 10, 25)
    task = await claiming(queue)
    for _ in range(20):
        await queue.answer()
        assert queue.taken <= queue.room
        queue.taken = max(0, queue.taken - 7)
        queue.changed.set()
    assert queue.count < 9_900
    task.cancel()


async def test_a_claim_that_waits_is_withdrawn_when_nothing_fits_any_more() -> None:
    queue = Queue(0, 10, 4)
    task = await claiming(queue)
    queue.loop.withdraw()
    await asyncio.sleep(0)
    ((_, answer),) = queue.waiting
    assert not answer.cancelled()  # there is room
    queue.taken = 4
    queue.loop.withdraw()
    await asyncio.sleep(0)
    assert answer.cancelled()
    queue.waiting.clear()
    queue.taken = 1
    queue.changed.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert queue.claims[-1] == (3, WAIT_SECS)
    task.cancel()


async def test_a_refused_claim_ends_the_loop_with_its_error() -> None:
    queue = Queue(0, 10, 4)
    task = await claiming(queue)
    ((_, answer),) = queue.waiting
    answer.set_exception(PermissionError("no"))
    with pytest.raises(PermissionError):
        await task


async def test_the_end_of_the_loop_ends_its_claims() -> None:
    queue = Queue(0, 10, 4)
    task = await claiming(queue)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    ((_, answer),) = queue.waiting
    assert answer.cancelled()
