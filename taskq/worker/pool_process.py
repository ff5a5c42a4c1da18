"""One process of the pool, seen from the worker.

A fresh interpreter started by path, never a fork: nothing of the parent's sockets or locks gets
into it, and it is the same on every system.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from taskq.worker import pipe
from taskq.worker.context import TaskContext, to_wire
from taskq.worker.function import Ended, Target, WorkerError
from taskq.worker.parent import KILL, send_signal

# Importing a large module on a busy machine takes seconds, not minutes.
START_TIMEOUT_SECS = 120.0
# The path of the parent goes in first and whole: without it `-c` would put the working folder
# ahead of the installed packages, where a `cluster.py` or `queue.py` of the user's hides ours.
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); parent = int(sys.argv[2]); "
    "sys.argv[1:] = []; from taskq.worker.child import main; main(parent)"
)


class PoolProcess:
    """One process of the pool. `run` is called for one task at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self.exited = asyncio.ensure_future(process.wait())
        self.token = 0
        self.signalled = False  # by us, so that its end is no surprise

    @classmethod
    async def start(cls, target: Target) -> PoolProcess:
        """A process that has loaded the function. Raises WorkerError where it cannot."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            _BOOT,
            json.dumps(sys.path),
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # A session of its own: Ctrl-C at the terminal is for the worker, which drains, and a
            # cancelled task is ended together with what it has started.
            start_new_session=sys.platform != "win32",
        )
        made = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT_SECS):
                answer = await made._ask(["load", list(target)])
        except TimeoutError:
            await made.end(0.0)
            raise WorkerError(
                f"Loading {target} took more than {START_TIMEOUT_SECS:.0f} s."
            ) from None
        except BaseException:
            await made.end(0.0)
            raise
        if answer is None:
            raise WorkerError(f"Loading {target}: the pool process {made.how_it_ended()}.")
        if answer[0] == "broken":
            await made.end(0.0)
            raise WorkerError(answer[1])
        return made

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self.exited.done()

    async def _ask(self, value: list[Any]) -> list[Any] | None:
        """Sends a value and gives the answer; None where the process ended instead."""
        answer = asyncio.ensure_future(self._read())
        try:
            self._stdin.write(pipe.pack(value))
            await asyncio.wait([answer, self.exited], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                # It ended; what it wrote before is in the pipe. Something that it started may
                # hold the other end open, so the end of the pipe is not waited for.
                await asyncio.wait([answer], timeout=0.5)
            if answer.done() and not answer.cancelled() and (reply := answer.result()):
                return reply
            await self.exited
            return None
        except (BrokenPipeError, ConnectionResetError):
            await self.exited
            return None
        finally:
            answer.cancel()

    async def _read(self) -> list[Any] | None:
        try:
            head = await self._stdout.readexactly(pipe.LENGTH_SIZE)
            return pipe.unpack(await self._stdout.readexactly(pipe.body_size(head)))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None

    async def run(self, context: TaskContext, payload: bytes) -> Ended | None:
        """The outcome of a task; None where the process ended while running it."""
        self.token = context.token
        try:
            answer = await self._ask(["run", to_wire(context), payload])
        finally:
            self.token = 0
        return None if answer is None else Ended(*answer[1:])

    def request_cancel(self, token: int) -> None:
        """Sets the flag `current_task().cancel_requested` in the process."""
        if self.alive:
            self._stdin.write(pipe.pack(["cancel", token]))

    def signal(self, number: int) -> None:
        """Sends a signal, also to what the function has started."""
        if self.alive:
            self.signalled = True
            send_signal(self.pid, number)

    def how_it_ended(self) -> str:
        """In words."""
        code = self._process.returncode
        if code is None:
            return "closed its pipe"
        if code >= 0:
            return f"exited with status {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        return f"was ended by signal {-code} ({name})"

    async def end(self, grace_secs: float) -> None:
        """Closes the pipe, so that an idle process ends by itself; kills it after `grace_secs`."""
        self._stdin.close()
        if grace_secs and self.alive:
            await asyncio.wait([self.exited], timeout=grace_secs)
        self.signal(KILL)
        await self.exited
