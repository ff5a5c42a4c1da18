"""What a nemesis is: harm to members of a cluster for a while, and its mending.

    campaign --picks--> Nemesis, target --names--> harm(scene, names): in its block the harm lasts

Nemeses that last can be put one in the other: that is a combination.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from chaos.live.cluster import LiveCluster

# Which members: the leader; a follower; the leader alone against the others is a matter of the
# nemesis. A minority is any one of three; a majority any two of three; of five: two and three.
LEADER, FOLLOWER, MINORITY, MAJORITY, ALL = "leader", "follower", "minority", "majority", "all"
TARGETS = (LEADER, FOLLOWER, MINORITY, MAJORITY, ALL)


@dataclass
class Scene:
    """What a nemesis has to do with: the cluster (with its ground) and chance from the seed."""

    cluster: LiveCluster
    chance: random.Random

    async def members(self, target: str) -> tuple[str, ...]:
        """Names of members for this target, now. Raises NotWhole where nobody leads."""
        names = list(self.cluster.nodes)
        most = len(names) // 2
        if target == ALL:
            return tuple(names)
        if target in (LEADER, FOLLOWER):
            leader = await self.cluster.leader()
            names.remove(leader)
            return (leader,) if target == LEADER else (self.chance.choice(names),)
        count = most if target == MINORITY else most + 1
        return tuple(sorted(self.chance.sample(names, count)))

    def others(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Members beside these: as many as may be missing, or all that there are."""
        members = self.cluster.nodes
        beside = [name for name in members if name not in names]
        count = min(len(beside), (len(members) - 1) // 2)
        return tuple(sorted(self.chance.sample(beside, count)))


class Missed(Exception):
    """The harm met nobody, and nothing happened: such a strike does not count."""


Harm = Callable[[Scene, tuple[str, ...]], AbstractAsyncContextManager[None]]
Ready = Callable[[Scene], Awaitable[None]]


async def always_ready(_: Scene) -> None:
    """Nothing to do beforehand."""


@dataclass(frozen=True)
class Nemesis:
    """One kind of fault.

    `name`: its word in the results. `harm`: does the harm to these members, and mends it when its
    block ends, or raises Missed; a cluster is whole again some time after. `targets`: those it may
    be aimed at. `needs`: abilities of a ground. `lasts_secs`: for so long the block lasts, (least,
    most). `planned`: nothing breaks, no request may fail. `silent`: members fall silent, they do
    not crash: an election takes its time-out. `clock`: members' monotonic clocks are wrong by a
    factor from here to there while it lasts; bounds on leases are widened by it. `clock_jump_secs`:
    what one strike may add to, or take from, cluster time at once. `ready`: brings the cluster to
    where the harm can be done (nodes that were started with a library in front of libc), before
    anything is measured and members are chosen; restarts nodes as an upgrade does, and leaves a
    whole cluster.
    """

    name: str
    harm: Harm
    targets: tuple[str, ...]
    needs: frozenset[str] = field(default_factory=frozenset)
    lasts_secs: tuple[float, float] = (0.0, 0.0)
    planned: bool = False
    silent: bool = False
    clock: tuple[float, float] = (1.0, 1.0)
    clock_jump_secs: float = 0.0
    spreads: bool = False
    ready: Ready = always_ready
