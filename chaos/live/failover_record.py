"""What is kept of a run of `chaos.live.failover`: one line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from chaos.live.gaps import first_after, longest_gap
from chaos.live.stamp import stamp
from chaos.record import spread

if TYPE_CHECKING:
    from chaos.live.failover import Run
    from chaos.live.strikes import Strike

# The end of the calm before a fault, which may be the beginning of its gap.
APART_SECS = 0.1


def summary(run: Run) -> dict[str, Any]:
    """One line about a run of one fault. Times in seconds: `gaps` of each strike and, before it,
    `calm` ones; `elected`: from the fault to the election, `found`: from that to the first
    acknowledgement, where there was an election; `late`: how much too late a probe was sent in the
    time of its gap; `whole`: until all nodes were as before."""
    history, strikes = run.history, run.strikes
    gaps = [one.gap(run.acks) for one in strikes]
    calm = [longest_gap(run.acks, one.at - run.calm_secs, one.at - APART_SECS) for one in strikes]
    parts = [part for one in strikes if (part := _parts(run, one)) is not None]
    outcomes = Counter(call.outcome for call in history.calls)
    return {
        **stamp(),
        "fault": run.plan[0],
        "scattered": run.scattered,
        "seed": run.seed,
        "times": len(strikes),
        "wall_secs": round(run.wall_secs, 1),
        "load_average": [round(min(run.load_averages), 1), round(max(run.load_averages), 1)],
        "gap": spread(gaps),
        "gaps": [round(gap, 4) for gap in gaps],
        "calm": spread(calm),
        "elected": spread(elected for elected, _ in parts),
        "found": spread(found for _, found in parts),
        "late": spread(_late(run, one) for one in strikes),
        "whole": spread(one.whole - one.at for one in strikes),
        "probes": len(run.acks),
        "calls": len(history.calls),
        "outcomes": dict(sorted(outcomes.items())),
        "failed": len(run.failed),
        "in_flight": [kill.writes_in_flight for kill in history.kills],
        "tasks": dict(history.final.states) if history.final else {},
        "violations": len(run.violations),
        "first_violations": run.violations[:5],
    }


def _late(run: Run, strike: Strike) -> float:
    return max((secs for when, secs in run.late if strike.at <= when <= strike.until), default=0.0)


def _parts(run: Run, strike: Strike) -> tuple[float, float] | None:
    """From the fault to the first election after it, from that to the first acknowledgement; None
    where nobody was elected."""
    wall_over = strike.wall + strike.until - strike.at
    elected = [when for when in run.elected if strike.wall <= when <= wall_over]
    if not elected:
        return None
    secs = elected[0] - strike.wall
    return secs, first_after(run.acks, strike.at + secs) - strike.at - secs
