"""One pod from its creation to its end: what a kubelet does to it.

start -> startup probe -> running (liveness, readiness) -> [preStop -> SIGTERM -> grace -> SIGKILL]
  ^                                    |  a container that ends or is not live is started again,
  +------ back-off <-------------------+  with the pod's address and volumes
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any

from docker.errors import DockerException
from docker.models.containers import Container

from deploy.harness.machine import Machine
from deploy.harness.pod_spec import PodPlan, Probe
from deploy.harness.probing import until_passing, watch

# The second restart waits, the next twice as long, and so on; the first does not. Seconds.
BACK_OFF_SECS, BACK_OFF_SECS_MAX = 10.0, 300.0
# What a preStop that used up the grace leaves for SIGTERM. Seconds.
LAST_SECS = 2.0


class Pod:
    """`plan` on `machine`; `service`: the headless Service that names it. Begins at `start`.

    `ready_since`: monotonic, None while it is not ready. `restarts`: of its container. `ended`: it
    was deleted, and is gone.
    """

    def __init__(self, machine: Machine, plan: PodPlan, revision: str, service: str | None) -> None:
        self.plan = plan
        self.revision = revision
        self.address = machine.next_address()
        self.ready_since: float | None = None
        self.restarts = 0
        self.exit_codes: list[int] = []
        self.pre_stops: list[tuple[int | None, float]] = []
        self.terminating = False
        self.ended = asyncio.Event()
        self._machine = machine
        self._service = service
        self._container: Container | None = None
        self._life: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()

    @property
    def name(self) -> str:
        """Of the pod."""
        return self.plan.name

    @property
    def running(self) -> bool:
        """Whether its container runs."""
        return self._container is not None

    def start(self) -> None:
        """Creates its container, and keeps it alive."""
        self._life = asyncio.create_task(self._live(), name=self.name)

    async def delete(self) -> None:
        """Asks it to end, and waits until it is gone. Raises what ended its life before."""
        self.terminating = True
        self._stop.set()
        assert self._life is not None
        await self._life

    def suspend(self) -> None:
        """SIGKILL to its container, which is not started again until `resume`: an experiment looks
        at its folder. Waits."""
        self._resumed.clear()
        if self._container is not None:
            with suppress(DockerException):  # it has ended meanwhile
                self._container.kill("SIGKILL")
                self._container.wait()

    def resume(self) -> None:
        """After `suspend`."""
        self._resumed.set()

    def check(self) -> None:
        """Raises what ended its life before its time."""
        if self._life is not None and self._life.done():
            self._life.result()

    async def abandon(self) -> None:
        """Looks after it no more; its container stays as it is."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    def container(self) -> Container:
        """The one that runs now. Raises LookupError."""
        if self._container is None:
            raise LookupError(f"{self.name} does not run")
        return self._container

    async def exec(self, *command: str) -> str:
        """As `kubectl exec`: what the command said. Raises AssertionError where it failed."""
        code, output = await self._machine.call(self._machine.exec, self.container(), command)
        assert code == 0, f"{self.name}: {' '.join(command)} ended with {code}: {output}"
        return str(output)

    # --- its life ---------------------------------------------------------------------------------

    async def _live(self) -> None:
        pause_secs = 0.0
        try:
            while not self._stop.is_set():
                await self._wait_for_stop(pause_secs)
                await self._unless_suspended()
                if self._stop.is_set():
                    break
                await self._one_container()
                self.restarts += 1
                pause_secs = min(max(2 * pause_secs, BACK_OFF_SECS), BACK_OFF_SECS_MAX)
                if self.restarts == 1:
                    pause_secs = 0.0
        finally:
            self.ready_since = None
            self.ended.set()

    async def _unless_suspended(self) -> None:
        waits = [asyncio.create_task(one.wait()) for one in (self._resumed, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _wait_for_stop(self, secs: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(secs):
                await self._stop.wait()

    async def _one_container(self) -> None:
        """From its start until it is gone: it ended, or was ended as a pod is."""
        create = self._machine.create
        made = await self._machine.call(create, self.plan, self.address, self._service)
        try:
            await self._machine.call(made.start)
            self._container = made
            follow = threading.Thread(target=self._follow, args=(made,), daemon=True)
            follow.start()
            gone = asyncio.ensure_future(self._machine.call(made.wait))
            unwell = asyncio.create_task(self._probed())
            stop = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait({gone, unwell, stop}, return_when=asyncio.FIRST_COMPLETED)
                grace_secs = self.plan.grace_secs
                if unwell.done():
                    failed = unwell.result()
                    grace_secs = grace_secs if failed.grace_secs is None else failed.grace_secs
                if not gone.done():
                    await self._end(made, gone, grace_secs)
                self.exit_codes.append((await gone)["StatusCode"])
            finally:
                for one in (unwell, stop):
                    one.cancel()
                await asyncio.gather(unwell, stop, return_exceptions=True)
            await self._machine.call(follow.join, 5.0)
        finally:
            self.ready_since = None
            self._container = None
            await self._machine.call(self._machine.remove, made)

    async def _end(self, made: Container, gone: asyncio.Future[Any], grace_secs: float) -> None:
        """preStop, SIGTERM, and SIGKILL when the grace is over."""
        began = time.monotonic()
        if self.plan.pre_stop:
            run = self._machine.call(self._machine.exec, made, self.plan.pre_stop)
            try:
                code, _ = await asyncio.wait_for(run, grace_secs)
            except (TimeoutError, DockerException):
                code = None
            self.pre_stops.append((code, time.monotonic() - began))
        left = max(LAST_SECS, began + grace_secs - time.monotonic())
        with suppress(DockerException):  # it has ended meanwhile
            await self._machine.call(made.kill, "SIGTERM")
        try:
            await asyncio.wait_for(asyncio.shield(gone), left)
        except TimeoutError:
            await self._machine.call(made.kill, "SIGKILL")

    async def _probed(self) -> Probe:
        """Returns when the container has to be started again: the probe that says so."""
        plan = self.plan
        if plan.startup is not None and not await until_passing(self.address, plan.startup):
            return plan.startup
        dead = asyncio.Event()
        probes = []
        if plan.readiness is None:
            self.ready_since = time.monotonic()
        else:
            seen = watch(self.address, plan.readiness, self._readiness, passing=False)
            probes.append(asyncio.create_task(seen))
        if plan.liveness is not None:
            seen = watch(self.address, plan.liveness, lambda live: dead.set(), passing=True)
            probes.append(asyncio.create_task(seen))
        try:
            await dead.wait()
            assert plan.liveness is not None
            return plan.liveness
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)

    def _readiness(self, ready: bool) -> None:
        self.ready_since = time.monotonic() if ready else None

    def _follow(self, made: Container) -> None:
        log = self._machine.log(self.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab", buffering=0) as file, suppress(DockerException, OSError):
            for chunk in made.logs(stream=True, follow=True):
                file.write(chunk)
