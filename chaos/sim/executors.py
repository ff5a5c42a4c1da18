"""Executors in virtual time: one task after the other, each with the disk's latency.

The work is done when its time is over: then its effect is there and its caller hears of it. A
process that is killed in between leaves what `Executor.interrupt` makes of the task under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from chaos.sim.disk import Interrupted
from chaos.sim.world import Event, World

Done = Callable[[Any, BaseException | None], None]
Task = tuple[Callable[[], Any], Done | None]


class Executor:
    """See the module. `latency()`: seconds that the next task takes; `on_start(secs)` hears of
    each that begins."""

    def __init__(
        self,
        world: World,
        name: str,
        latency: Callable[[], float],
        on_start: Callable[[float], None] = lambda secs: None,
    ) -> None:
        self._on_start = on_start
        self._world = world
        self._latency = latency
        self.name = name
        self._waiting: deque[Task] = deque()
        self._running: Task | None = None
        self._event: Event | None = None
        self.paused = False
        self._late = False
        self._dead = False

    def carry_out(self, function: Callable[[], Any], done: Done | None) -> None:
        """Does it after everything that was asked before."""
        if not self._dead:
            self._waiting.append((function, done))
            self._next()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As `concurrent.futures` has it."""
        future: Future[Any] = Future()

        def done(value: Any, error: BaseException | None) -> None:
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self.carry_out(lambda: function(*args, **kwargs), done)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `concurrent.futures` has it: nothing is under way afterwards. Time stands still."""
        if cancel_futures:
            self._waiting.clear()
        while wait and (self._running is not None or self._waiting):
            if self._event is not None:
                self._event.cancel()
            if self._running is None:
                self._running = self._waiting.popleft()
            self._finish()

    def _next(self) -> None:
        if self._running is None and self._waiting and not self.paused:
            self._running = self._waiting.popleft()
            secs = self._latency()
            self._event = self._world.after(secs, self._finish)
            self._on_start(secs)

    def _finish(self) -> None:
        if self.paused:
            self._late = True
            return
        task, self._running, self._event = self._running, None, None
        if task is None or self._dead:
            return
        function, done = task
        value, error = None, None
        try:
            value = function()
        except Interrupted:
            return  # the power failed in the middle of it: nobody is left to hear of it
        except Exception as raised:  # noqa: BLE001  # an executor hands on every error
            error = raised
        if done is not None:
            done(value, error)
        self._next()

    def pause(self) -> None:
        """Nothing ends until `resume`."""
        self.paused = True

    def resume(self) -> None:
        """Goes on."""
        self.paused = False
        if self._late:
            self._late = False
            self._finish()
        self._next()

    def kill(self) -> Callable[[], Any] | None:
        """Nothing more is done; the task that was under way, if any."""
        self._dead = True
        if self._event is not None:
            self._event.cancel()
        self._waiting.clear()
        return None if self._running is None else self._running[0]
