"""A random walk of a group: anything that may happen, in any order, from one seed.

Each seed draws how often each step is taken, so that some walks are full of crashes and others of
links that break; a uniform mixture of everything reaches few of the states that matter.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cluster.replication.raft_state import LEADER
from cluster.storage.flags import NON_VOTING_FLAG
from cluster.storage.log_records import Head
from tests.unit.replication.disk import Disk
from tests.unit.replication.group_rig import Group

# Step -> how often, before the seed's own weight.
WEIGHTS = {
    "submit": 10,
    "log": 8,
    "state": 2,
    "deliver": 30,
    "cut": 1,
    "connect": 2,
    "hold": 1.5,
    "let_go": 1.5,
    "transfer": 0.5,
    "stand": 0.6,
    "time": 5,
    "crash": 0.7,
    "restart": 3,
    "all_deliver": 5,
}
VARIATION = (0.1, 0.3, 1.0, 1.0, 3.0)


class Walk:
    """One walk. `wiped`: how many disks were lost, `group.committed`: what was committed."""

    def __init__(self, group: Group, seed: int) -> None:
        self.group = group
        self.rng = rng = random.Random(seed)
        self.tag = 0
        self.wiped = 0
        self.transfers = 0
        drawn = {step: weight * rng.choice(VARIATION) for step, weight in WEIGHTS.items()}
        self._steps: list[Callable[[], None]] = [getattr(self, f"_{step}") for step in drawn]
        self._weights = list(drawn.values())
        group.tick(1.5, steps=15)

    def go(self, count: int) -> None:
        """So many steps; what must hold at every moment is checked after each."""
        for step in self.rng.choices(self._steps, self._weights, k=count):
            step()
            self.group.check()

    def rest(self) -> None:
        """Everything is mended; whatever was answered is in every log, and all are alike."""
        group = self.group
        for one in sorted(group.down):
            group.restart(one)
        group.held.clear()
        for link in sorted(group.queues):
            group.cut(*link)
            group.connect(*link)
        group.tick(8.0, steps=80)
        (leader,) = group.leaders()
        model = group[leader]
        assert model.raft.is_leader
        accepted = group.accepted()
        for node_id, node in group.nodes.items():
            assert accepted <= set(group.stored(node_id)), "an answered submit is lost"
            assert node.disk.entries() == model.disk.entries()
            assert node.disk.state.values == model.disk.state.values, "P6"
            assert node.raft.applied_index == node.disk.state_index == model.raft.applied_index
            assert not node.disk.head.flags, "it has caught up, and votes again (A8)"

    # --- steps ------------------------------------------------------------------------------------

    def _up(self) -> list[str]:
        return [one for one in self.group.ids if one not in self.group.down]

    def _submit(self) -> None:
        leaders = [one for one in self._up() if self.group[one].raft.is_leader]
        if leaders:
            self.tag += 1
            self.group[self.rng.choice(leaders)].submit(self.tag)

    def _log(self) -> None:
        if self._up():
            self.group[self.rng.choice(self._up())].log.finish()

    def _state(self) -> None:
        if self._up():
            self.group[self.rng.choice(self._up())].state.finish()

    def _deliver(self) -> None:
        group = self.group
        links = [one for one in sorted(group.queues) if group.queues[one] and one not in group.held]
        if links:
            group.deliver(*self.rng.choice(links))

    def _all_deliver(self) -> None:
        for _ in range(10):
            self._deliver()
            self._log()

    def _cut(self) -> None:
        self.group.cut(*self.rng.choice(sorted(self.group.queues)))

    def _connect(self) -> None:
        if self.group.closed:
            self.group.connect(*self.rng.choice(sorted(self.group.closed)))

    def _hold(self) -> None:
        self.group.held.add(self.rng.choice(sorted(self.group.queues)))

    def _let_go(self) -> None:
        if self.group.held:
            self.group.held.discard(self.rng.choice(sorted(self.group.held)))

    def _transfer(self) -> None:
        leaders = [one for one in self._up() if self.group[one].raft.is_leader]
        if leaders:
            self.transfers += 1
            target = self.rng.choice(self.group.ids)
            self.group[leaders[0]].driver.transfer(target, lambda refusal: None)

    def _stand(self) -> None:
        """Whether or not a pre-vote would say so, as after an order to take over: many terms."""
        able = [
            one
            for one in self._up()
            if self.group[one].raft.role != LEADER and not self.group[one].raft.loss
        ]
        if able:
            self.group.stands(self.rng.choice(able))

    def _time(self) -> None:
        self.group.loop.now += self.rng.choice([0.003, 0.02, 0.1, 0.4])
        self.group.loop.settle()

    def _crash(self) -> None:
        if self._up():
            self.group.crash(self.rng.choice(self._up()))

    def _restart(self) -> None:
        if self.group.down:
            one = self.rng.choice(sorted(self.group.down))
            if self.rng.random() < 0.3 and self._whole(one):
                self.wiped += 1
                self.group[one].disk = Disk()
                flags = {NON_VOTING_FLAG: self.rng.randrange(1, 1 << 62)}
                self.group[one].disk.head = Head(1, flags=flags)
            self.group.restart(one)

    def _whole(self, but: str) -> bool:
        """Whether no other disk was lost lately: more than a minority may lose what it held."""
        return not any(self.group[one].disk.head.flags for one in self.group.ids if one != but)
