"""One fault from a whole cluster to a whole cluster, under load and watched by a probe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isinf

from chaos.history import Kill
from chaos.live.cluster import LiveCluster
from chaos.live.gaps import first_after, longest_gap
from chaos.live.nemesis import Missed, Nemesis, Scene, always_ready
from chaos.live.probe import Probe
from chaos.live.recorder import Recorder

# Nothing happens for so long before a fault: what the machine alone does is seen there.
CALM_SECS = 1.5
# After service is back, for so long: whether it stays.
SETTLE_SECS = 1.0
# While the others are a majority, service has to come back without those that are harmed: they stay
# so until it has, or for so long. (A leader whose disk is full leads, and refuses.)
WITHOUT_SECS = 10.0
SERVED_SECS = 60.0
# A snapshot of all that there is goes over a link that is slow.
WHOLE_SECS = 120.0


@dataclass
class Strike:
    """One fault, from `at`. Times are seconds of the monotonic clock, `wall` since 1970: the harm
    was mended between `mending` and `mended`, service was seen to stay until `over`, and every node
    was as before at `whole`; infinite: that never came. `without`: there was service while the harm
    lasted. `missed`: why it does not count."""

    fault: str
    target: str
    nodes: tuple[str, ...]
    at: float
    wall: float
    mending: float = inf
    mended: float = inf
    over: float = inf
    whole: float = inf
    without: bool = False
    silent: bool = False
    planned: bool = False
    missed: str = ""

    @property
    def until(self) -> float:
        """The end of what the fault itself did to the service; the return of those that were harmed
        comes after it, where there was service without them."""
        return self.mending if self.without else self.over

    def gap(self, acks: Sequence[float]) -> float:
        """Time without service by the fault, from the moments at which probes were acknowledged."""
        return longest_gap(acks, self.at, self.until)

    def gap_on_return(self, acks: Sequence[float]) -> float:
        """The longest time between acknowledgements while those that were harmed came back."""
        return longest_gap(acks, self.mending, self.over)

    def told(self, acks: Sequence[float]) -> str:
        """A line for people, just after it: the next acknowledgement may still be on its way."""
        gap, whole = self.gap([*acks, time.monotonic()]), self.whole - self.at
        at = time.strftime("%H:%M:%S", time.gmtime(self.wall))
        told = f"{at} {self.fault}@{self.target} ({', '.join(self.nodes)}): "
        told += f"{gap * 1000:.0f} ms without service, whole after {whole:.1f} s"
        return told + (f"; does not count, {self.missed}" if self.missed else "")

    def back(self, acks: Sequence[float]) -> float:
        """From the end of the harm to the first acknowledgement after it."""
        return first_after(acks, self.mended) - self.mended


class Striker:
    """Strikes the cluster of `scene`, which `probe` watches; notes each blow in the recorder's
    history. `under_way`: the strike that has begun, and has not come to its end."""

    def __init__(
        self,
        scene: Scene,
        probe: Probe,
        recorder: Recorder,
        *,
        calm_secs: float = CALM_SECS,
        settle_secs: float = SETTLE_SECS,
    ) -> None:
        self._scene = scene
        self._probe = probe
        self._recorder = recorder
        self._calm_secs = calm_secs
        self._settle_secs = settle_secs
        self.under_way: Strike | None = None

    @property
    def _cluster(self) -> LiveCluster:
        return self._scene.cluster

    async def strike(self, nemesis: Nemesis, target: str, name: str = "") -> Strike:
        """One fault (`name`: its word in the history); returns when the cluster is whole again.
        Raises NotWhole, NodeDied, and TimeoutError where there is no service again."""
        await self._cluster.whole(timeout_secs=WHOLE_SECS)
        await self._made_ready(nemesis)
        await asyncio.sleep(self._calm_secs + self._scene.chance.uniform(0, 0.5))
        nodes = await self._scene.members(target)
        strike = Strike(nemesis.name, target, nodes, time.monotonic(), time.time())
        strike.silent, strike.planned = nemesis.silent, nemesis.planned
        in_flight = self._recorder.in_flight()
        kill = Kill(strike.at, name or f"{nemesis.name}@{target}", in_flight, served=True)
        if nemesis.clock != (1.0, 1.0) or nemesis.clock_jump_secs:
            kill.clock = [*nemesis.clock, nemesis.clock_jump_secs]
        self._recorder.history.kills.append(kill)
        # Until the end of time, where it never comes back.
        kill.over = inf
        self.under_way = strike
        await self._harm(nemesis, strike)
        strike.mended = time.monotonic()
        await self._probe.served_after(strike.mended, SERVED_SECS)
        await asyncio.sleep(self._settle_secs)
        strike.over = time.monotonic()
        await self._cluster.whole(timeout_secs=WHOLE_SECS)
        kill.over = strike.whole = time.monotonic()
        self.under_way = None
        return strike

    async def _harm(self, nemesis: Nemesis, strike: Strike) -> None:
        secs = self._scene.chance.uniform(*nemesis.lasts_secs)
        most = (len(self._cluster.nodes) - 1) // 2
        minority = len(strike.nodes) <= most and not nemesis.spreads
        try:
            async with nemesis.harm(self._scene, strike.nodes):
                await self._lasts(strike, secs, minority=minority)
                strike.mending = time.monotonic()
        except Missed as missed:
            strike.missed = str(missed)
            if isinf(strike.mending):
                strike.mending = time.monotonic()

    async def _made_ready(self, nemesis: Nemesis) -> None:
        """Nodes may be restarted meanwhile: the history says so, though it is no strike."""
        if nemesis.ready is always_ready:
            return
        kill = Kill(time.monotonic(), "made ready", self._recorder.in_flight(), served=True)
        self._recorder.history.kills.append(kill)
        kill.over = inf
        await nemesis.ready(self._scene)
        kill.over = time.monotonic()

    async def _lasts(self, strike: Strike, secs: float, *, minority: bool) -> None:
        harmed = time.monotonic()
        if minority:
            try:
                await self._probe.served_after(harmed, max(secs, WITHOUT_SECS))
                strike.without = True
                await asyncio.sleep(self._settle_secs)
            except TimeoutError:
                pass  # the row tells; whether service comes back at all is seen after the mending
        await asyncio.sleep(max(0.0, harmed + secs - time.monotonic()))
