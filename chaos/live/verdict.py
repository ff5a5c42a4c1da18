"""What the rules say of a history, and what they leave open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from chaos.checkers import CHECKERS, Evidence
from chaos.checkers.linear import linearizability, linearizable
from chaos.history import History
from chaos.live.nemesis import Nemesis


@dataclass
class Verdict:
    """`violations`: a sentence for each broken promise, after the name of its rule and a colon.
    `undecided`: tasks whose history was too long to be searched to its end."""

    violations: list[str] = field(default_factory=list)
    undecided: int = 0

    def by_rule(self) -> dict[str, int]:
        """How many violations of each rule that was broken."""
        return dict(Counter(line.partition(":")[0] for line in self.violations))


def judged(history: History, struck: Iterable[Nemesis] = ()) -> Verdict:
    """The verdict on a history with its read-out. `struck`: the nemesis of each strike; what they
    did to clocks widens the bounds in cluster time."""
    each = list(struck)
    rate = (
        min((one.clock[0] for one in each), default=1.0),
        max((one.clock[1] for one in each), default=1.0),
    )
    jumps = sum(one.clock_jump_secs for one in each)
    evidence = Evidence(history, clock_rate=rate, clock_jump_secs=jumps)
    searched = linearizability(evidence)
    lines = [
        f"{check.__name__}: {line}"
        for check in CHECKERS
        if check is not linearizable
        for line in check(evidence)
    ]
    lines += [f"{linearizable.__name__}: {line}" for line in searched.broken]
    return Verdict(lines, len(searched.undecided))
