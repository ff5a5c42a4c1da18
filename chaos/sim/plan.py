"""What is to go wrong in a run: drawn up front as plain data, so that it can be shortened and
replayed. `faults` carries it out."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

FAULT_COUNT = (12, 20)
FIRST_SECS, LAST_SECS = 4.0, 56.0
# So many come while the cluster is founded.
EARLY_CHANCE = 0.05
MEMBER_HUNTS = frozenset({"rush", "stranger", "leaving", "departing"})
# They make up a situation about the present leader.
HUNTS = MEMBER_HUNTS | {
    *("rivals", "rivals damaged", "usurp", "amnesia", "late answers"),
    *("lone copies", "lone copies damaged"),
}
# Kind -> how often it is drawn.
WEIGHTS = {
    "kill": 4,
    "kill majority": 1,
    "kill all": 1,
    "power": 4,
    "power majority": 1,
    "power all": 2,
    "power all without witness": 1,
    "crash while opening": 1,
    "stop": 2,
    "pause": 2,
    "isolate": 2,
    "isolate one way": 2,
    "one way": 2,
    "split": 1,
    "slow wire": 1,
    "slow machine": 1,
    "break": 2,
    "slow disk": 1,
    "failing disk": 2,
    "full disk": 1,
    "wipe": 2,
    "damage": 3,
    "rivals": 1,
    "rivals damaged": 1,
    "usurp": 1,
    "amnesia": 1,
    "late answers": 1,
    "lone copies": 1,
    "lone copies damaged": 1,
    "rush": 1,
    "stranger": 1,
    "leaving": 1,
    "departing": 1,
    "founding": 1,
    "transfer": 2,
    "members": 2,
    "burden": 1,
    "clock jump": 2,
    "clock rate": 1,
}

# Where the members change all the time, down to a single one whose disk must not be lost.
MEMBERS_WEIGHTS = {
    kind: 8 if kind == "members" else weight
    for kind, weight in WEIGHTS.items()
    if kind not in HUNTS - MEMBER_HUNTS and kind != "founding"
}
FEW_MEMBERS_WEIGHTS = {
    kind: weight
    for kind, weight in MEMBERS_WEIGHTS.items()
    if kind not in {"wipe", "damage", "power all without witness"}
}

# Where a crash loses what was acknowledged, a majority may not crash at once.
LAZY_WEIGHTS = {
    kind: weight
    for kind, weight in WEIGHTS.items()
    if kind
    in {
        *("kill", "power", "stop", "pause", "isolate", "isolate one way", "one way", "slow wire"),
        *("slow machine", "break", "slow disk", "failing disk", "full disk", "wipe", "transfer"),
        "burden",
        *("clock jump", "clock rate"),
    }
}


@dataclass(frozen=True)
class Fault:
    """`who`: 0 the leader, else one of the followers in turn; `number`: what else it needs, drawn
    from 0 to 2^32."""

    at: float
    kind: str
    who: int
    secs: float
    number: int

    def as_list(self) -> list[Any]:
        """For JSON."""
        return list(asdict(self).values())


def draw(chance: random.Random, weights: Mapping[str, int] = WEIGHTS) -> list[Fault]:
    """The faults of a run, in the order of their moments."""
    kinds, chances = list(weights), list(weights.values())
    faults = [
        Fault(
            round(_moment(chance), 3),
            chance.choices(kinds, chances)[0],
            chance.choice((0, 0, 1, 2, 3, 4)),
            round(chance.choice((0.05, 0.3, 1.0, 3.0, 8.0)) * chance.uniform(0.5, 1.5), 3),
            chance.getrandbits(32),
        )
        for _ in range(chance.randint(*FAULT_COUNT))
    ]
    # A cluster is founded once, and hunts begin with one that leads.
    faults = [replace(one, at=0.0) if one.kind == "founding" else one for one in faults]
    hunts = [replace(one, who=0) if one.kind in HUNTS else one for one in faults]
    return sorted(hunts, key=lambda fault: fault.at)


def _moment(chance: random.Random) -> float:
    if chance.random() < EARLY_CHANCE:
        return chance.uniform(0.0, FIRST_SECS)
    return chance.uniform(FIRST_SECS, LAST_SECS)
