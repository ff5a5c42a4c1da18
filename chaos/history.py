"""What clients did and heard, call by call; what was killed; and what is there at the end.

Written by the loads of `chaos.live`, judged by `chaos.checkers`. Plain data that goes through JSON,
so that the history of a failure can be kept and judged again. Times are seconds of one monotonic
clock; a task's id is its 16 bytes as hex.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OK, REFUSED, UNKNOWN, OPEN = "ok", "refused", "unknown", "open"

# What changes state and is answered at once: a kill counts if one of these is under way.
WRITES = ("submit", "complete", "fail", "release", "extend", "heartbeat", "cancel", "deregister")


@dataclass(slots=True)
class Call:
    """One request of a caller, with all repeats that the client made of it.

    `kind`: submit, claim, complete, fail, release, extend, heartbeat, cancel, status, deregister.
    `outcome`: ok (`reply`), refused (`code`: certainly not carried out by this call), unknown (may
    have been carried out, or may still be), open (not over). Members of a batch are calls of their
    own with the times of the batch.
    """

    kind: str
    start: float
    args: dict[str, Any]
    end: float = 0.0
    outcome: str = OPEN
    code: str = ""
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def maybe(self) -> bool:
        """It may have been carried out."""
        return self.outcome != REFUSED


@dataclass(slots=True)
class Kill:
    """A SIGKILL, or another fault that makes clients repeat. `in_flight`: requests by kind that had
    been sent, or were about to be, over an open connection, and had no answer (in phase `stopping`:
    when the node was told to stop). `phase`: the moment that was aimed for. `served`: the node had
    served before. `over`: when a fault that lasts was over; 0 for one of a moment. `clock`: what it
    did to monotonic clocks: the slowest rate, the fastest, and how many seconds of cluster time its
    jumps may have added or taken; empty where they were right.
    """

    at: float
    phase: str
    in_flight: dict[str, int]
    served: bool
    up_secs: float = 0.0
    serving_secs: float | None = None
    first_reply_secs: float | None = None
    over: float = 0.0
    clock: list[float] = field(default_factory=list)

    @property
    def writes_in_flight(self) -> int:
        """Unanswered requests that change state, without claims, which may just be parked."""
        return sum(self.in_flight.get(kind, 0) for kind in WRITES)


@dataclass(slots=True)
class Final:
    """What the node says when all is quiet. `tasks`: id -> state, queue, size, priority, token,
    attempt, cancel_requested, result (text, None without). `statuses`: id -> state, asked one by
    one. `states`, `totals`: those of the statistics. `given`: what came when all that was ready was
    claimed afterwards: id -> checksums of payloads, one for each time; None where nobody tried."""

    tasks: dict[str, dict[str, Any]]
    statuses: dict[str, str]
    states: dict[str, int]
    totals: dict[str, int]
    given: dict[str, list[int]] | None = None


@dataclass(slots=True)
class History:
    """One run."""

    calls: list[Call] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    final: Final | None = None

    def of(self, *kinds: str) -> Iterator[Call]:
        """The calls of these kinds, in the order in which they began."""
        return (call for call in self.calls if call.kind in kinds)

    def save(self, path: Path) -> None:
        """Writes everything as lines of JSON, compressed."""
        with gzip.open(path, "wt") as file:
            for kill in self.kills:
                file.write(json.dumps({"kill": asdict(kill)}) + "\n")
            for call in self.calls:
                file.write(json.dumps({"call": asdict(call)}) + "\n")
            if self.final is not None:
                file.write(json.dumps({"final": asdict(self.final)}) + "\n")

    @classmethod
    def load(cls, path: Path) -> History:
        """What `save` wrote."""
        history = cls()
        with gzip.open(path, "rt") as file:
            for line in file:
                ((kind, fields),) = json.loads(line).items()
                if kind == "kill":
                    history.kills.append(Kill(**fields))
                elif kind == "call":
                    history.calls.append(Call(**fields))
                else:
                    history.final = Final(**fields)
        return history
