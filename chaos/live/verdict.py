"""What the rules say of a history, and what they leave open."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chaos.checkers import CHECKERS, Evidence
from chaos.checkers.linear import linearizability, linearizable
from chaos.history import History


@dataclass
class Verdict:
    """`violations`: a sentence for each broken promise, after the name of its rule and a colon.
    `undecided`: tasks whose history was too long to be searched to its end."""

    violations: list[str] = field(default_factory=list)
    undecided: int = 0

    def by_rule(self) -> dict[str, int]:
        """How many violations of each rule that was broken."""
        return dict(Counter(line.partition(":")[0] for line in self.violations))


def judged(history: History) -> Verdict:
    """The verdict on a history with its read-out."""
    evidence = Evidence(history)
    searched = linearizability(evidence)
    lines = [
        f"{check.__name__}: {line}"
        for check in CHECKERS
        if check is not linearizable
        for line in check(evidence)
    ]
    lines += [f"{linearizable.__name__}: {line}" for line in searched.broken]
    return Verdict(lines, len(searched.undecided))
