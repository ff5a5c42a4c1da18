"""A round second by second: what was done, and how long it took. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from chaos.live.probe import QUEUE

if TYPE_CHECKING:
    from chaos.history import Call
    from chaos.live.campaign import Round

# What is drawn of the calls that were carried out; claims count as tasks that were claimed.
KINDS = ("submit", "claim", "complete")


@dataclass(frozen=True)
class Timeline:
    """Seconds from the start of the round. `rates`: tasks in each second, by kind, at the answer;
    `latency`: (second, p50, longest) of the probes that began in it, in seconds."""

    rates: dict[str, list[int]]
    latency: list[tuple[int, float, float]]

    @classmethod
    def of(cls, round_: Round) -> Timeline:
        """From the calls of a round that is over."""
        done = [call for call in round_.history.calls if call.ok]
        secs = int(max((call.end for call in done), default=round_.started) - round_.started) + 1
        rates = {kind: [0] * secs for kind in KINDS}
        waits: dict[int, list[float]] = defaultdict(list)
        for call in done:
            if call.kind in rates:
                rates[call.kind][int(call.end - round_.started)] += _tasks(call)
            if call.args.get("queue") == QUEUE:
                waits[int(call.start - round_.started)].append(call.end - call.start)
        latency = [(at, median(each), max(each)) for at, each in sorted(waits.items())]
        return cls(rates, latency)


def _tasks(call: Call) -> int:
    return len(call.reply["grants"]) if call.kind == "claim" else 1
