"""Ctrl-C and its like, for commands that have children to end: the first signal counts, once.

After it every further one is ignored, so that an impatient second Ctrl-C cannot interrupt the
ending and leave a child or a folder behind; how long the ending takes is bounded elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")

_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop. `code` is the exit code for it, as shells have it: 130 for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class StopSignals:
    """Turns the first SIGINT, SIGTERM or SIGHUP within its block into `Interrupted`."""

    def __init__(self) -> None:
        self._number = 0
        self._ignored = False
        self._before: dict[int, Any] = {}
        # What happens instead of raising where one stands: set while that would do harm.
        self._instead: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._received) for number in _NUMBERS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _received(self, number: int, _: object) -> None:
        if self._ignored or self._number:
            return
        self._number = number
        if self._instead is None:
            raise Interrupted(number)
        self._instead()

    def ignore(self) -> None:
        """From now on signals change nothing: the end has begun."""
        self._ignored = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A block that is not interrupted: a signal counts at its end. For what must not come
        into being without being remembered."""
        with self._replaced(lambda: None):
            yield
        if self._number and not self._ignored:
            raise Interrupted(self._number)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs a coroutine to its end; a signal cancels it and raises Interrupted."""
        # Held: a loop that is being made or closed must not be left half done.
        with self.held(), asyncio.Runner() as runner:
            loop = runner.get_loop()
            task = loop.create_task(work)

            async def finish() -> Result:
                return await task

            with self._replaced(lambda: loop.call_soon_threadsafe(task.cancel)):
                if self._number:
                    task.cancel()
                try:
                    return runner.run(finish())
                except asyncio.CancelledError:
                    if self._number:
                        raise Interrupted(self._number) from None
                    raise

    @contextlib.contextmanager
    def _replaced(self, instead: Callable[[], object]) -> Iterator[None]:
        before, self._instead = self._instead, instead
        try:
            yield
        finally:
            self._instead = before
