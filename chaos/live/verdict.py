"""What the rules say of a history, and what they leave open."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chaos.checkers import CHECKERS, Evidence
from chaos.checkers.linear import linearizability, linearizable
from chaos.history import History

# Of an experiment without these no rule has anything to say.
AT_WORK = ("submit", "claim", "complete")

# Rules of which each violation is something that was acknowledged and is not there, or something
# that was done twice. All others are broken promises of another kind.
LOST = ("acknowledged_submits",)
DOUBLED = ("one_completion", "one_task_per_id")


@dataclass
class Verdict:
    """`violations`: a sentence for each broken promise, after the name of its rule and a colon.
    `undecided`: tasks whose history was too long to be searched to its end."""

    violations: list[str] = field(default_factory=list)
    undecided: int = 0

    def by_rule(self) -> dict[str, int]:
        """How many violations of each rule that was broken."""
        return dict(Counter(line.partition(":")[0] for line in self.violations))

    def columns(self) -> dict[str, Any]:
        """What every line of results has of it."""
        rules = self.by_rule()
        return {
            "lost": sum(rules.get(rule, 0) for rule in LOST),
            "doubled": sum(rules.get(rule, 0) for rule in DOUBLED),
            "rules": rules,
            "first_violations": [line[:300] for line in self.violations[:5]],
            "undecided": self.undecided,
        }

    def judge(self, history: History) -> None:
        """Adds what the rules say, and that actors have done nothing: then they say nothing."""
        done = {call.kind for call in history.calls if call.ok}
        self.violations += [
            f"at_work: not one {kind} was carried out" for kind in AT_WORK if kind not in done
        ]
        if history.final is not None:
            found = judged(history)
            self.violations += found.violations
            self.undecided = found.undecided


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
