"""A pool process: loads the function once, then runs one task after the other.

The main thread runs the function, so that signals and libraries that insist on it work. A second
thread reads commands and does nothing else. What the function prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from taskq.worker import pipe
from taskq.worker.context import TaskContext, enter, from_wire
from taskq.worker.function import Ended, Target, WorkerError, is_coroutine, load, run, run_coroutine
from taskq.worker.parent import KILL, end_with_parent


def main(parent_pid: int) -> None:
    """Serves the parent over standard input and output until it closes them."""
    end_with_parent(parent_pid, KILL)
    # Ctrl-C reaches everyone at the terminal; the parent decides what becomes of running tasks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands, answers = _take_over_pipes()
    first = pipe.read(commands)
    if first is None:
        return
    try:
        function = load(Target(*first[1]))
    except WorkerError as error:
        _send(answers, ["broken", str(error)])
        return
    _send(answers, ["ready"])
    PoolChild(function, commands, answers).serve()


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Moves the parent's pipes away from 0 and 1, where the function would read and print."""
    commands = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, answers


def _send(answers: BinaryIO, value: list[Any]) -> None:
    answers.write(pipe.pack(value))
    answers.flush()


class PoolChild:
    """The loop of a pool process."""

    def __init__(self, function: Callable[..., Any], commands: BinaryIO, answers: BinaryIO) -> None:
        self._function = function
        self._commands = commands
        self._answers = answers
        self._runs: queue.SimpleQueue[tuple[TaskContext, bytes] | None] = queue.SimpleQueue()
        self._current: TaskContext | None = None
        self._running = False

    def serve(self) -> None:
        """Runs tasks until the parent closes its end."""
        threading.Thread(target=self._listen, daemon=True).start()
        while (item := self._runs.get()) is not None:
            self._running = True
            ended = self._run(*item)
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            _send(self._answers, ["ended", *ended])
            self._running = False

    def _run(self, context: TaskContext, payload: bytes) -> Ended:
        enter(context)
        if is_coroutine(self._function):
            return asyncio.run(run_coroutine(self._function, payload, context.headers))
        return run(self._function, payload, context.headers)

    def _listen(self) -> None:
        while (command := pipe.read(self._commands)) is not None:
            verb, *rest = command
            if verb == "run":
                self._current = from_wire(rest[0])
                self._runs.put((self._current, rest[1]))
            elif verb == "cancel" and self._current is not None and self._current.token == rest[0]:
                self._current.request_cancel()
        if self._running:
            os._exit(1)  # nobody is left who wants the outcome
        self._runs.put(None)
