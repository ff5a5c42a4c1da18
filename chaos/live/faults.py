"""What happens to a cluster under load, each fault from a whole cluster to a whole cluster."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.history import Kill
from chaos.live.cluster import LiveCluster
from chaos.live.probe import Probe
from chaos.live.recorder import Recorder
from taskq import AsyncClient
from taskq.commands import TransferLeadership

# Nothing happens for so long before a fault: what the machine alone does is seen there.
CALM_SECS = 1.5
# After service is back, for so long: whether it stays.
SETTLE_SECS = 1.0
# A node that hangs does so for much longer than an election takes.
PAUSE_SECS = 2.0
SERVED_SECS = 30.0


@dataclass
class Strike:
    """One fault. Times are seconds of the monotonic clock, `wall` since 1970: `at` to `over` is
    what its gap is taken from, and `whole` when every node was as before."""

    fault: str
    nodes: tuple[str, ...]
    at: float
    wall: float
    over: float = 0.0
    whole: float = 0.0


class Faults:
    """Strikes `cluster`, which `probe` watches; notes each blow in the recorder's history."""

    def __init__(
        self,
        cluster: LiveCluster,
        probe: Probe,
        recorder: Recorder,
        chance: random.Random,
        *,
        calm_secs: float = CALM_SECS,
        settle_secs: float = SETTLE_SECS,
    ) -> None:
        self._calm_secs = calm_secs
        self._settle_secs = settle_secs
        self._cluster = cluster
        self._probe = probe
        self._recorder = recorder
        self._random = chance
        self._blow: dict[str, Callable[[str], Awaitable[Strike]]] = {
            "leader-crash": self._leader_crash,
            "leader-pause": self._leader_pause,
            "follower-crash": self._follower_crash,
            "follower-pause": self._follower_pause,
            "majority-crash": self._majority_crash,
            "all-crash": self._all_crash,
            "transfer": self._transfer,
            "follower-wipe": self._follower_wipe,
            "rolling-restart": self._rolling_restart,
        }

    async def strike(self, fault: str) -> Strike:
        """One fault; returns when the cluster is whole again. Raises NotWhole, NodeDied, and
        TimeoutError where there is no service again."""
        await self._cluster.whole()
        await asyncio.sleep(self._calm_secs + self._random.uniform(0, 0.5))
        strike = await self._blow[fault](await self._cluster.leader())
        await self._cluster.whole()
        strike.whole = time.monotonic()
        self._recorder.history.kills[-1].over = strike.whole
        return strike

    def _begin(self, fault: str, *nodes: str) -> Strike:
        strike = Strike(fault, nodes, time.monotonic(), time.time())
        in_flight = self._recorder.in_flight()
        self._recorder.history.kills.append(Kill(strike.at, fault, in_flight, served=True))
        return strike

    async def _served(self, strike: Strike) -> None:
        """Until a probe that began after now is acknowledged, and a while more."""
        await self._probe.served_after(time.monotonic(), SERVED_SECS)
        await asyncio.sleep(self._settle_secs)
        strike.over = time.monotonic()

    async def _kill(self, *names: str) -> None:
        nodes = [self._cluster.nodes[name] for name in names]
        for node in nodes:
            node.kill_soon()
        for node in nodes:
            await asyncio.to_thread(node.kill)  # the probes go on meanwhile

    def _a_follower(self, leader: str) -> str:
        return self._random.choice([name for name in self._cluster.nodes if name != leader])

    # --- the faults -------------------------------------------------------------------------------

    async def _leader_crash(self, leader: str) -> Strike:
        return await self._crash("leader-crash", leader)

    async def _follower_crash(self, leader: str) -> Strike:
        return await self._crash("follower-crash", self._a_follower(leader))

    async def _majority_crash(self, leader: str) -> Strike:
        names = (leader, self._a_follower(leader))
        strike = self._begin("majority-crash", *names)
        await self._kill(*names)
        self._cluster.start(names[1:])
        await self._served(strike)
        self._cluster.start(names[:1])
        return strike

    async def _crash(self, fault: str, name: str) -> Strike:
        strike = self._begin(fault, name)
        await self._kill(name)
        await self._served(strike)
        self._cluster.start([name])
        return strike

    async def _leader_pause(self, leader: str) -> Strike:
        return await self._pause("leader-pause", leader)

    async def _follower_pause(self, leader: str) -> Strike:
        return await self._pause("follower-pause", self._a_follower(leader))

    async def _pause(self, fault: str, name: str) -> Strike:
        strike = self._begin(fault, name)
        self._cluster.pause(name)
        try:
            await asyncio.sleep(PAUSE_SECS)
            await self._served(strike)
        finally:
            self._cluster.resume(name)
        return strike

    async def _all_crash(self, leader: str) -> Strike:
        names = tuple(self._cluster.nodes)
        strike = self._begin("all-crash", *names)
        await self._kill(*names)
        self._cluster.start()
        await self._served(strike)
        return strike

    async def _transfer(self, leader: str) -> Strike:
        async with AsyncClient(self._cluster.url) as client:
            await client.ping()
            strike = self._begin("transfer", leader)
            await client.call(TransferLeadership())
        await self._served(strike)
        return strike

    async def _follower_wipe(self, leader: str) -> Strike:
        """A follower loses its disk. When the cluster is whole again, the leader crashes: nothing
        goes on then without the vote and the disk of the node that was wiped."""
        name = self._a_follower(leader)
        strike = self._begin("follower-wipe", name)
        await self._kill(name)
        await asyncio.to_thread(self._cluster.wipe, name)
        self._cluster.start([name])
        await self._cluster.whole()
        await self._served(strike)
        leader = await self._cluster.leader()
        await self._kill(leader)
        await self._probe.served_after(time.monotonic(), SERVED_SECS)
        self._cluster.start([leader])
        return strike

    async def _rolling_restart(self, leader: str) -> Strike:
        """Every node is asked to stop and started again, one after the other, the leader first."""
        names = sorted(self._cluster.nodes, key=lambda name: name != leader)
        strike = self._begin("rolling-restart", *names)
        for name in names:
            await asyncio.to_thread(self._cluster.nodes[name].terminate)
            self._cluster.start([name])
            await self._cluster.whole()
        await self._served(strike)
        return strike


FAULTS = (
    *("leader-crash", "leader-pause", "follower-crash", "follower-pause", "majority-crash"),
    *("all-crash", "transfer", "follower-wipe", "rolling-restart"),
)
# Nothing breaks: no request may fail.
PLANNED = frozenset({"transfer", "rolling-restart"})
