"""All nemeses, by name, and what of them is to strike: drawn from a seed, or told."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from chaos.live import clock
from chaos.live.clock_faults import CLOCK_FAULTS, JUMPING
from chaos.live.combination import OTHERS, SAME, combination
from chaos.live.disk_faults import DISK_FAULTS, FAILING_SYNCS, FULL_DISK, POWER_CUT, SLOW_DISK
from chaos.live.disk_faults import NEEDS as DISK_NEEDS
from chaos.live.member_faults import MEMBER_FAULTS
from chaos.live.nemesis import ALL, FOLLOWER, LEADER, MAJORITY, MINORITY, Nemesis
from chaos.live.network_faults import DELAY_AND_LOSS, FLAPPING, NETWORK_FAULTS, PARTITION
from chaos.live.process_faults import KILL, PAUSE, PROCESS_FAULTS, STOP, WIPE
from chaos.live.rot_faults import BIT_FLIPS, ROT_FAULTS

_ONE = (LEADER, FOLLOWER)
COMBINATIONS = (
    combination(PAUSE, KILL, OTHERS, _ONE),
    combination(STOP, KILL, OTHERS, (FOLLOWER,)),
    # A follower that is brought up by a snapshot, and its source goes, hangs, or goes dark.
    combination(WIPE, KILL, OTHERS, (FOLLOWER, MINORITY)),
    combination(WIPE, PAUSE, OTHERS, (FOLLOWER,)),
    combination(WIPE, POWER_CUT, OTHERS, (FOLLOWER,)),
    combination(PAUSE, POWER_CUT, SAME, (LEADER,)),
    combination(SLOW_DISK, KILL, SAME, (LEADER,)),
    combination(FULL_DISK, KILL, OTHERS, (FOLLOWER,)),
    combination(BIT_FLIPS, POWER_CUT, OTHERS, (FOLLOWER,)),
    # After a sync that failed the system takes pages for clean that are on no disk.
    combination(FAILING_SYNCS, POWER_CUT, SAME, (LEADER, MAJORITY, ALL)),
    combination(JUMPING, PAUSE, OTHERS, _ONE),
    combination(PARTITION, KILL, OTHERS, _ONE),
    combination(PARTITION, POWER_CUT, SAME, (LEADER,)),
    combination(FLAPPING, KILL, OTHERS, (FOLLOWER,)),
    combination(DELAY_AND_LOSS, KILL, SAME, (LEADER,)),
)
ALL_NEMESES: Mapping[str, Nemesis] = {
    one.name: one
    for one in (
        *MEMBER_FAULTS,
        *(*PROCESS_FAULTS, *DISK_FAULTS, *ROT_FAULTS, *CLOCK_FAULTS, *NETWORK_FAULTS),
        *COMBINATIONS,
    )
}


class Aim(NamedTuple):
    """A nemesis, by name, and at whom it is aimed. As text: `kill@leader`."""

    fault: str
    target: str

    @property
    def nemesis(self) -> Nemesis:
        """Raises KeyError."""
        return ALL_NEMESES[self.fault]

    def __str__(self) -> str:
        return f"{self.fault}@{self.target}"

    @classmethod
    def parse(cls, text: str) -> Aim:
        """What `str` made. Raises ValueError where there is no such nemesis or target."""
        fault, _, target = text.strip().rpartition("@")
        found = ALL_NEMESES.get(fault)
        if found is None or target not in found.targets:
            raise ValueError(f"no such fault: {text.strip()!r}; see --list")
        return cls(fault, target)


def aims(
    abilities: frozenset[str], faults: Iterable[str] = (), targets: Iterable[str] = ()
) -> list[Aim]:
    """Every fault with every target that it may be aimed at, where the ground and this machine can
    do it; only these `faults` and `targets`, if there are any."""
    able = abilities | clock.abilities()
    wanted, whom = set(faults), set(targets)
    return [
        Aim(one.name, target)
        for one in ALL_NEMESES.values()
        for target in one.targets
        if one.needs <= able
        if not wanted or one.name in wanted
        if not whom or target in whom
    ]


def on_disks(deck: Iterable[Aim]) -> bool:
    """Whether some of them need disks that can fail."""
    return any(one.nemesis.needs >= DISK_NEEDS for one in deck)


def drawn(deck: list[Aim], seed: int) -> Iterator[Aim]:
    """Without end: all of the deck in an order from the seed, then all of it again in another."""
    chance = random.Random(seed)
    while deck:
        yield from chance.sample(deck, len(deck))


def filled(deck: list[Aim], count: int, so_far: Mapping[Aim, int], seed: int) -> list[Aim]:
    """So that each nemesis of the deck has struck `count` times, whoever it met, with what there
    was `so_far`: the rarest nemesis first, aimed at whom it has met least."""
    chance = random.Random(seed)
    targets: dict[str, list[Aim]] = {}
    for one in deck:
        targets.setdefault(one.fault, []).append(one)
    struck = Counter({one: so_far.get(one, 0) for one in deck})
    times = {fault: sum(struck[one] for one in each) for fault, each in targets.items()}
    plan: list[Aim] = []
    while min(times.values(), default=count) < count:
        least = min(times.values())
        turn = [fault for fault in targets if times[fault] == least]
        for fault in chance.sample(turn, len(turn)):
            aim = min(targets[fault], key=lambda one: (struck[one], chance.random()))
            struck[aim] += 1
            times[fault] += 1
            plan.append(aim)
    return plan
