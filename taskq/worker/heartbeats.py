"""Says in time what the worker holds, and acts on what the cluster answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from taskq.errors import ErrorCode, RequestRefused, TaskqError
from taskq.worker.executor import Executor
from taskq.worker.held import HEARTBEAT_REPEAT_SECS, Held
from taskq.worker.link import TRANSIENT, Link
from taskq.worker.usage import Usage

_log = logging.getLogger("taskq.worker")

# Seconds between two warnings that the cluster is silent.
WARNING_INTERVAL_SECS = 10.0


class WorkerLost(TaskqError):
    """The worker had no contact with the cluster for `max_inactivity` and gave up its tasks."""


class Heartbeats:
    """The heartbeats of one worker. `sooner` is set when the next has become due earlier."""

    def __init__(self, link: Link, held: Held, executor: Executor, inactivity_secs: float) -> None:
        self.sooner = asyncio.Event()
        self._link = link
        self._held = held
        self._executor = executor
        self._inactivity_secs = inactivity_secs
        self._usage = Usage()
        self._told_at: float | None = None

    async def beat(self, now: Callable[[], float]) -> None:
        """Sends heartbeats until contact is lost for too long: raises WorkerLost. Also raises
        what says that this worker may not do so."""
        while True:
            try:
                async with asyncio.timeout_at(self._held.heartbeat_due()):
                    await self.sooner.wait()
                self.sooner.clear()
                continue
            except TimeoutError:
                pass
            await self._beat_once(now)
            silent_secs = self._held.silent_secs(now())
            if silent_secs > self._inactivity_secs:
                raise WorkerLost(
                    f"No contact with the cluster for {silent_secs:.0f} s, the worker gave up its "
                    "tasks (max_inactivity)."
                )

    async def _beat_once(self, now: Callable[[], float]) -> None:
        sent_at = now()
        self._held.heartbeat_sent(sent_at)
        cpu_permille, memory_size = self._usage.sample(self._executor.child_pids())
        try:
            async with asyncio.timeout(HEARTBEAT_REPEAT_SECS):
                reply = await self._link.heartbeat(self._held.tokens(), cpu_permille, memory_size)
        except TRANSIENT as error:
            self._tell_silence(sent_at, str(error) or "nothing came in time")
            return
        except RequestRefused as error:
            if error.code in (ErrorCode.UNAUTHENTICATED, ErrorCode.PERMISSION_DENIED):
                raise
            _log.warning("Heartbeat refused: %s", error)
            self._held.contact(now())
            return
        if self._told_at is not None:
            _log.warning("In contact with the cluster again.")
            self._told_at = None
        lost, cancel = self._held.heartbeat_answered(sent_at, now(), reply.invalid, reply.cancel)
        for token in lost:
            _log.warning("The lease with token %d is no longer ours; stopping its run.", token)
        for token in (*lost, *cancel):
            self._executor.stop(token)

    def _tell_silence(self, now: float, reason: str) -> None:
        """Warns of a heartbeat without an answer: at first, then now and then."""
        if self._told_at is None or now - self._told_at >= WARNING_INTERVAL_SECS:
            self._told_at = now
            _log.warning(
                "Heartbeat not answered, for %.0f s no contact (gives up after %.0f s): %s",
                self._held.silent_secs(now),
                self._inactivity_secs,
                reason,
            )
