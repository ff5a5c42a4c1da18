"""What is kept of a round of a campaign: one line."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from chaos.live.nemeses import Aim
from chaos.live.stamp import stamp

if TYPE_CHECKING:
    from chaos.live.campaign import Round
    from chaos.live.strikes import Strike


def row_of(round_: Round) -> dict[str, Any]:
    """One line about a round. Times in seconds. `struck`: what was begun, in order, from which the
    round can be repeated; `strikes`: what was carried out; `missed`: what met nobody
    and does not count; `given`: tasks that came when all that was ready was claimed at the end;
    `rules`: violations by broken rule; `equipped`: with disks that can fail,
    which are a little slower."""
    final = round_.history.final
    outcomes: dict[str, Counter[str]] = {}
    for call in round_.history.calls:
        outcomes.setdefault(call.kind, Counter())[call.code or call.outcome] += 1
    return {
        **stamp(),
        "seed": round_.seed,
        "form": round_.ground.form,
        "links": round_.links,
        "nodes": round_.nodes,
        "equipped": round_.equipped,
        "settings": round_.all_settings,
        "struck": [str(aim) for aim in round_.struck],
        "missed": [f"{one.fault}@{one.target}: {one.missed}" for one in round_.missed],
        "strikes": [_strike(round_, one) for one in round_.strikes],
        "calls": {kind: dict(sorted(each.items())) for kind, each in sorted(outcomes.items())},
        "tasks": dict(final.states) if final else {},
        "given": len(final.given or {}) if final else 0,
        "failed": len(round_.failed),
        **round_.verdict.columns(),
        "wall_secs": round(round_.wall_secs, 1),
        "judge_secs": round(round_.judge_secs, 1),
        "load_average": [round(one, 1) for one in _ends(round_.load_averages)],
    }


def _strike(round_: Round, strike: Strike) -> dict[str, Any]:
    """`gap`: time without service; `return`: the longest while those that were harmed came back;
    `back`: from the mending to the next acknowledgement; `late`: how much too late this process
    sent a probe meanwhile."""
    late = (secs for when, secs in round_.late if strike.at <= when <= strike.until)
    return {
        "fault": strike.fault,
        "target": strike.target,
        "nodes": list(strike.nodes),
        "at": finite(strike.at - round_.started),
        "lasted": finite(strike.mended - strike.at),
        "gap": finite(strike.gap(round_.acks)),
        "return": finite(strike.gap_on_return(round_.acks)),
        "back": finite(strike.back(round_.acks)),
        "whole": finite(strike.whole - strike.at),
        "late": finite(max(late, default=0.0)),
        "without": strike.without,
        "silent": strike.silent,
        "planned": strike.planned,
    }


def finite(value: float) -> float | None:
    """None where nobody can tell: JSON knows no infinity."""
    return round(value, 4) if math.isfinite(value) else None


def _ends(values: list[float]) -> list[float]:
    return [min(values), max(values)] if values else []


def counts(rows: Iterable[Mapping[str, Any]], form: str, nodes: int) -> dict[Aim, int]:
    """How often each fault was carried out in rounds of this form without a broken promise."""
    found = Counter(
        Aim(one["fault"], one["target"])
        for row in rows
        if (row["form"], row["nodes"]) == (form, nodes) and not row["rules"]
        for one in row["strikes"]
    )
    return dict(found)


def next_seed(rows: Iterable[Mapping[str, Any]], form: str) -> int:
    """After the greatest seed that rounds of this form have had; 1 at first."""
    return max((row["seed"] for row in rows if row["form"] == form), default=0) + 1
