"""A pool process: loads the functions once, then runs one task after the other.

The main thread runs them, so that signals and libraries that insist on it work. A second thread
listens to the parent and does nothing else. What a function prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any

from taskq.errors import Refusal, as_exception
from taskq.worker import pipe
from taskq.worker.context import TaskContext, enter
from taskq.worker.executor import CANCELLED
from taskq.worker.function import Ended, run, run_coroutine
from taskq.worker.parent import KILL, end_with_parent
from taskq.worker.target import Target, WorkerError
from taskq.worker.workload import Workload, load_workload


def main(parent_pid: int) -> None:
    """Serves the parent over standard input and output until it closes them."""
    end_with_parent(parent_pid, KILL)
    # Ctrl-C reaches everyone at the terminal; the parent decides what becomes of running tasks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = Parent(*_take_over_pipes())
    first = parent.receive()
    if not first:
        return
    try:
        workload = load_workload(Target(*first[0][1:]))
    except WorkerError as error:
        parent.send([pipe.BROKEN, str(error)])
        return
    parent.send([pipe.READY])
    PoolChild(workload, parent).serve(first[1:])


def _take_over_pipes() -> tuple[int, int]:
    """Moves the parent's pipes away from 0 and 1, where functions would read and print."""
    commands, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, answers


class Parent:
    """The pipes to the parent. Both threads send."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._unpacker = pipe.unpacker()
        self._lock = threading.Lock()

    def send(self, value: list[Any]) -> None:
        """Sends one value whole."""
        with self._lock:
            left = memoryview(pipe.pack(value))
            while left:
                left = left[os.write(self._answers, left) :]

    def receive(self) -> list[list[Any]]:
        """The next values, all that are there; empty at the end. Blocks."""
        while data := os.read(self._commands, pipe.READ_SIZE):
            self._unpacker.feed(data)
            if values := list(self._unpacker):
                return values
        return []


class PoolChild:
    """The two loops of a pool process."""

    def __init__(self, workload: Workload, parent: Parent) -> None:
        self._workload = workload
        self._parent = parent
        # The listener fills the line and empties it on recall; a ticket says that there may be one.
        self._line: deque[list[Any]] = deque()
        self._tickets: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._current: TaskContext | None = None
        self._coroutine: asyncio.Task[Ended] | None = None
        self._extensions: dict[int, Future[int]] = {}
        self._runner: asyncio.Runner | None = None

    def serve(self, first: list[list[Any]]) -> None:
        """Runs tasks until the parent closes its end."""
        for command in first:
            self._obey(command)
        threading.Thread(target=self._listen, name="taskq-parent", daemon=True).start()
        streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
        while self._tickets.get():
            try:
                token, *about, payload, deadline_wall = self._line.popleft()
            except IndexError:
                continue  # it was called back
            task_id, queue_name, name, attempt, headers = about
            context = TaskContext(
                task_id, token, queue_name, name, attempt, headers, deadline_wall, self._extend
            )
            self._current = context
            began = time.monotonic()
            ended = self._run(context, payload)
            secs = time.monotonic() - began
            self._current = None
            for stream in streams:
                stream.flush()
            self._parent.send([pipe.ENDED, token, secs, *ended])

    def _run(self, context: TaskContext, payload: bytes) -> Ended:
        enter(context)
        found = self._workload.find(context.name)
        if found is None:
            # The parent knows the name: the module was changed in between.
            text = f"UNKNOWN_TASK: the pool process knows no task {context.name!r}"
            return Ended(False, None, text)
        if not found.is_async:
            return run(found.function, payload, context.headers)
        if self._runner is None:
            self._runner = asyncio.Runner()

        async def body() -> Ended:
            enter(context)
            self._coroutine = asyncio.current_task()
            if context.is_cancelled:
                return CANCELLED
            return await run_coroutine(found.function, payload, context.headers)

        try:
            return self._runner.run(body())
        except asyncio.CancelledError:
            return CANCELLED
        finally:
            self._coroutine = None

    # --- the listener ---------------------------------------------------------------------------

    def _listen(self) -> None:
        while commands := self._parent.receive():
            for command in commands:
                self._obey(command)
        if self._current is not None:
            os._exit(1)  # nobody is left who wants the outcome
        self._tickets.put(False)

    def _obey(self, command: list[Any]) -> None:
        verb = command[0]
        if verb == pipe.RUN:
            self._line.append(command[1:])
            self._tickets.put(True)
        elif verb == pipe.RECALL:
            self._give_back()
        elif verb == pipe.CANCEL:
            self._cancel(command[1])
        elif verb == pipe.EXTENDED:
            self._extended(*command[1:])

    def _give_back(self) -> None:
        tokens = []
        while True:
            try:
                tokens.append(self._line.pop()[0])
            except IndexError:
                break
        self._parent.send([pipe.BACK, tokens])

    def _cancel(self, token: int) -> None:
        context, coroutine = self._current, self._coroutine
        if context is None or context.token != token:
            return
        context.cancel()
        if coroutine is not None:
            coroutine.get_loop().call_soon_threadsafe(coroutine.cancel)

    # --- longer leases --------------------------------------------------------------------------

    def _extend(self, token: int, lease_ms: int | None) -> Future[int]:
        future = self._extensions[token] = Future()
        self._parent.send([pipe.EXTEND, token, lease_ms])
        return future

    def _extended(self, token: int, lease_ms: int | None, code: str, text: str) -> None:
        future = self._extensions.pop(token, None)
        if future is None or future.cancelled():
            return
        if lease_ms is None:
            future.set_exception(as_exception(Refusal(code, text)))
        else:
            future.set_result(lease_ms)
