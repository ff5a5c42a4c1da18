"""The event loop of one process: asyncio as far as a node uses it, in virtual time.

    ready callbacks --turn--> run, one turn of the loop, a few microseconds of virtual time
    timers, by the machine's own monotonic clock; work in executors takes the disk's time

A loop can be paused (nothing runs; then everything is late) and killed (nothing of it ever runs
again). An exception that nobody handles is told to `on_surprise`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, Protocol

from chaos.sim.clocks import Clock
from chaos.sim.world import Event, World
from cluster.storage.errors import StorageError

# What one turn of the loop costs: time passes even where callbacks call each other for ever.
TURN_SECS = 20e-6


class Executor(Protocol):
    """Carries out work beside the loop, in virtual time."""

    def carry_out(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]
    ) -> None: ...


class NodeLoop(asyncio.AbstractEventLoop):
    """See the module. `spare`: where `run_in_executor(None, ...)` goes."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        name: str,
        spare: Executor,
        on_surprise: Callable[[str, BaseException | None], None],
        after_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._world = world
        self._clock = clock
        self._spare = spare
        self._on_surprise = on_surprise
        self._after_turn = after_turn
        self.name = name
        self.process: Any = None  # whose loop it is, for those who look on
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._turn: Event | None = None
        self._alarm: Event | None = None
        self._alarm_at = 0.0
        self._tasks: list[asyncio.Task[Any]] = []
        self.paused = False
        self.dead = False

    # --- what asyncio asks ------------------------------------------------------------------------

    def time(self) -> float:
        return self._clock.read()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self.dead

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.dead:
            self._ready.append(handle)
            self._arm_turn()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.dead:
            self._numbers += 1
            heappush(self._timers, (when, self._numbers, handle))
            self._arm_alarm()
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        # In order of creation and never collected while it runs: what a killed task does when it
        # is collected must happen at the moment of the kill.
        self._tasks.append(task)
        if len(self._tasks) > 256:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()

        def done(value: Any, error: BaseException | None) -> None:
            self.call_soon(settle, value, error)

        def settle(value: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        if not self.dead:
            (executor or self._spare).carry_out(lambda: func(*args), done)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            error = context.get("exception")
            self._on_surprise(str(context.get("message", "")), error)

    # --- turns ------------------------------------------------------------------------------------

    def _arm_turn(self) -> None:
        if self._turn is None and not self.paused:
            self._turn = self._world.after(TURN_SECS, self._run_turn)

    def _arm_alarm(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heappop(self._timers)
        if not self._timers or self.paused:
            return
        when = self._clock.true_at(self._timers[0][0])
        if self._alarm is not None:
            if self._alarm_at <= when:
                return
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._world.at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if not self.dead and not self.paused:
            self._arm_turn()

    def _run_turn(self) -> None:
        """One turn, as asyncio does it: what is due joins what is ready, and that is run."""
        self._turn = None
        if self.dead or self.paused:
            return
        now = self._clock.read() + 1e-9
        while self._timers and self._timers[0][0] <= now:
            handle = heappop(self._timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)
        with _Running(self):
            for _ in range(len(self._ready)):
                handle_now = self._ready.popleft()
                if not handle_now.cancelled():
                    handle_now._run()
                if self._is_dead():
                    return
        self._after_turn()
        if self._ready:
            self._arm_turn()
        self._arm_alarm()

    def _is_dead(self) -> bool:
        return self.dead

    def call_now(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Runs something on this loop at once, from outside of it."""
        with _Running(self):
            return callback(*args)

    # --- life -------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Nothing runs until `resume`."""
        self.paused = True

    def resume(self) -> None:
        """Goes on; what became due meanwhile is late."""
        self.paused = False
        self.clock_changed()
        if self._ready:
            self._arm_turn()

    def clock_changed(self) -> None:
        """The machine's clock was set: its timers come at other moments."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._arm_alarm()

    def kill(self) -> None:
        """Nothing of it runs ever again. Coroutines are closed now, while they can do no harm:
        what they try on the way out goes nowhere."""
        self.dead = True
        for event in (self._turn, self._alarm):
            if event is not None:
                event.cancel()
        self._ready.clear()
        self._timers.clear()
        with _Running(self):
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _close(task)
        self._tasks.clear()


def _close(task: asyncio.Task[Any]) -> None:
    """A killed process cleans nothing up: a `finally` that awaits is refused, and so is what it
    does to a disk that is no longer its own."""
    coroutine = task.get_coro()
    with contextlib.suppress(RuntimeError, OSError, StorageError, asyncio.CancelledError):
        coroutine.close()


class _Running:
    """Makes a loop the running one; may be nested."""

    def __init__(self, loop: NodeLoop) -> None:
        self._loop = loop
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = events._get_running_loop()
        events._set_running_loop(self._loop)

    def __exit__(self, *_: object) -> None:
        events._set_running_loop(self._before)
