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
from collections import deque
from typing import Any, Protocol, cast

from taskq.worker import pipe
from taskq.worker.executor import Run
from taskq.worker.function import Ended
from taskq.worker.parent import KILL, send_signal
from taskq.worker.target import Target, WorkerError

# Importing a large module on a busy machine takes seconds, not minutes.
START_TIMEOUT_SECS = 120.0
# Something that a process started may hold its pipe open after its end: then the end of the pipe is
# not waited for any longer than this.
LAST_WORDS_SECS = 0.5
# The path of the parent goes in first and whole: without it `-c` would put the working folder
# ahead of the installed packages, where a `cluster.py` or `queue.py` of the user's hides ours.
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); parent = int(sys.argv[2]); "
    "sys.argv[1:] = []; from taskq.worker.child import main; main(parent)"
)


class Owner(Protocol):
    """Who hears of a process."""

    def ended(self, process: PoolProcess, run: Run, secs: float, ended: Ended) -> None: ...
    def came_back(self, process: PoolProcess, tokens: list[int]) -> None: ...
    def extension_wanted(self, process: PoolProcess, token: int, lease_ms: int | None) -> None: ...
    def gone(self, process: PoolProcess) -> None: ...


class PoolProcess(asyncio.SubprocessProtocol):
    """A process that runs what it is sent, one task at a time, in order.

    `line`: what was sent and has no outcome; the first of them runs, since `since` at the latest.
    """

    def __init__(self, owner: Owner, target: Target) -> None:
        self._owner = owner
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._unpacker = pipe.unpacker()
        self._transport: asyncio.SubprocessTransport | None = None
        self._ready: asyncio.Future[str] = self._loop.create_future()
        self._out: list[bytes] = []
        self._piped = True
        self.exited: asyncio.Future[None] = self._loop.create_future()
        self.line: deque[Run] = deque()
        self.since = 0.0
        self.expected_secs = 0.0  # all of the line together
        self.recalled = False
        self.signalled = False  # by us, so that its end is no surprise

    async def start(self) -> None:
        """Starts it and has it load the functions. Raises WorkerError where it cannot."""
        await self._loop.subprocess_exec(
            lambda: self,
            *(sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(os.getpid())),
            stderr=None,
            # A session of its own: Ctrl-C at the terminal is for the worker, which drains, and a
            # cancelled task is ended together with what it has started.
            start_new_session=sys.platform != "win32",
        )
        try:
            self.send([pipe.LOAD, *self._target])
            self.flush()
            async with asyncio.timeout(START_TIMEOUT_SECS):
                problem = await self._ready
        except TimeoutError:
            await self.end(0.0)
            text = f"Loading {self._target} took more than {START_TIMEOUT_SECS:.0f} s."
            raise WorkerError(text) from None
        except BaseException:
            await self.end(0.0)
            raise
        if problem:
            await self.end(0.0)
            raise WorkerError(problem)

    @property
    def pid(self) -> int:
        assert self._transport is not None
        return self._transport.get_pid()

    @property
    def alive(self) -> bool:
        return not self.exited.done()

    # --- sending --------------------------------------------------------------------------------

    def send(self, value: list[Any]) -> None:
        """Sends a value with the next `flush`."""
        self._out.append(pipe.pack(value))

    def run(self, run: Run, expected_secs: float, now: float) -> None:
        """Sends a task with the next `flush`."""
        if not self.line:
            self.since = now
        self.line.append(run)
        self.expected_secs += expected_secs
        task_id, token, queue, name, payload, headers, _, attempt, *_ = run.task
        about = [token, task_id, queue, name, attempt, headers, payload, run.deadline_wall]
        self.send([pipe.RUN, *about])

    def recall(self) -> None:
        """Wants back what it has not started; `came_back` follows, unless it cannot hear."""
        if not self.recalled:
            self.recalled = True
            self.send([pipe.RECALL])
            self.flush()

    def flush(self) -> None:
        """Writes what was sent."""
        assert self._transport is not None
        stdin = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if self._out and self.alive and stdin is not None and not stdin.is_closing():
            stdin.write(b"".join(self._out))
        self._out.clear()

    def signal(self, number: int) -> None:
        """Sends a signal, also to what the functions have started."""
        if self.alive:
            self.signalled = True
            send_signal(self.pid, number)

    async def end(self, grace_secs: float) -> None:
        """Closes the pipe, so that an idle process ends by itself; kills it after `grace_secs`."""
        assert self._transport is not None
        stdin = self._transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()
        if grace_secs and self.alive:
            await asyncio.wait([self.exited], timeout=grace_secs)
        self.signal(KILL)
        await asyncio.shield(self.exited)
        self._transport.close()

    # --- from the loop --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It was started."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It says something."""
        self._unpacker.feed(data)
        for kind, *fields in self._unpacker:
            if kind == pipe.ENDED:
                token, secs, *ended = fields
                run = self.line.popleft()
                assert run.task.token == token, "a pool process runs tasks in order"
                self.since = self._loop.time()
                count = len(self.line)
                self.expected_secs = self.expected_secs * count / (count + 1) if count else 0.0
                self._owner.ended(self, run, secs, Ended(*ended))
            elif kind == pipe.BACK:
                self.recalled = False
                self._owner.came_back(self, fields[0])
            elif kind == pipe.EXTEND:
                self._owner.extension_wanted(self, *fields)
            elif not self._ready.done():  # READY, or BROKEN with a text
                self._ready.set_result(fields[0] if fields else "")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """One of its pipes is closed."""
        if fd == 1:
            self._piped = False
            if self._returncode is not None:
                self._gone()

    def process_exited(self) -> None:
        """It ended. What it wrote before may still be in the pipe."""
        if self._piped:
            self._loop.call_later(LAST_WORDS_SECS, self._gone)
        else:
            self._gone()

    @property
    def _returncode(self) -> int | None:
        return None if self._transport is None else self._transport.get_returncode()

    def _gone(self) -> None:
        if self.exited.done():
            return
        self.exited.set_result(None)
        if not self._ready.done():
            self._ready.set_result(
                f"Loading {self._target}: the pool process {self.how_it_ended()}."
            )
        else:
            self._owner.gone(self)

    def how_it_ended(self) -> str:
        """In words."""
        code = self._returncode
        if code is None:
            return "closed its pipe"
        if code >= 0:
            return f"exited with status {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        return f"was ended by signal {-code} ({name})"
