"""Runs the function in the worker's own process: in threads, or on its loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from taskq.worker.context import TaskContext, enter
from taskq.worker.function import Ended, run, run_coroutine

CANCELLED = Ended(False, None, "cancelled while it was running")


class Threads:
    """A thread per run. A thread cannot be ended from outside: `stop` sets the flag
    `current_task().cancel_requested`, and a function that never looks runs to its end."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._contexts: dict[int, TaskContext] = {}

    async def start(self) -> None:
        """Nothing to make ready."""

    async def run(self, context: TaskContext, payload: bytes) -> Ended:
        """Runs the function in a thread that does not keep the process from ending."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Ended] = loop.create_future()

        def settle(ended: Ended) -> None:
            if not outcome.done():
                outcome.set_result(ended)

        def body() -> None:
            enter(context)
            ended = run(self._function, payload, context.headers)
            try:
                loop.call_soon_threadsafe(settle, ended)
            except RuntimeError:
                pass  # the loop was closed: the worker gave this run up

        self._contexts[context.token] = context
        try:
            threading.Thread(target=body, name=f"task-{context.id}", daemon=True).start()
            return await outcome
        finally:
            del self._contexts[context.token]

    def stop(self, token: int) -> None:
        """Sets the flag of one run."""
        if token in self._contexts:
            self._contexts[token].request_cancel()

    def kill(self) -> None:
        """Sets the flags of all runs."""
        for context in self._contexts.values():
            context.request_cancel()

    async def close(self) -> None:
        """Sets the flags of what is left; the threads end with the process."""
        self.kill()

    def child_pids(self) -> list[int]:
        """None."""
        return []


class Coroutines:
    """Runs a coroutine function on the worker's own loop; `stop` cancels it.

    A coroutine that blocks the loop also blocks the heartbeats, and so loses its lease.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._runs: dict[int, tuple[TaskContext, asyncio.Task[Ended]]] = {}

    async def start(self) -> None:
        """Nothing to make ready."""

    async def run(self, context: TaskContext, payload: bytes) -> Ended:
        """Runs the coroutine as an asyncio task of its own."""

        async def body() -> Ended:
            enter(context)
            return await run_coroutine(self._function, payload, context.headers)

        inner = asyncio.create_task(body(), name=f"task-{context.id}")
        self._runs[context.token] = context, inner
        try:
            await asyncio.wait([inner])
        finally:
            del self._runs[context.token]
            inner.cancel()
        return CANCELLED if inner.cancelled() else inner.result()

    def stop(self, token: int) -> None:
        """Cancels one run."""
        if token in self._runs:
            context, inner = self._runs[token]
            context.request_cancel()
            inner.cancel()

    def kill(self) -> None:
        """Cancels all runs."""
        for token in list(self._runs):
            self.stop(token)

    async def close(self) -> None:
        """Cancels what is left and gives it a moment to end."""
        left = [inner for _, inner in self._runs.values()]
        self.kill()
        if left:
            await asyncio.wait(left, timeout=1.0)

    def child_pids(self) -> list[int]:
        """None."""
        return []
