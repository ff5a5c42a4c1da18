"""What is kept of a soak: one line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from chaos.live.stamp import stamp
from chaos.record import spread

if TYPE_CHECKING:
    from chaos.live.soak import Soak


def row_of(soak: Soak) -> dict[str, Any]:
    """One line about a run. Times in seconds; `rate`: life cycles per second: the peak, wanted,
    done; `uses`: by gauge and node the most at any time, in the middle third and in the last, in
    the units of /proc."""
    account = soak.account
    return {
        **stamp(),
        "form": soak.form,
        "nodes": soak.nodes,
        "seed": soak.seed,
        "settings": dict(soak.settings),
        "rate": {
            "peak": round(soak.peak),
            "wanted": round(soak.rate),
            "done": round((soak.done[-1][2] - soak.done[0][2]) / soak.load_secs)
            if soak.done
            else 0,
        },
        "load_secs": round(soak.load_secs, 1),
        "load_average": [min(soak.load_averages), max(soak.load_averages)]
        if soak.load_averages
        else [],
        "strikes": dict(
            sorted(Counter(f"{one.fault}@{one.target}" for one in soak.strikes).items())
        ),
        "gap": spread(one.gap(soak.acks) for one in soak.strikes),
        "whole": spread(one.whole - one.at for one in soak.strikes),
        "submitted": len(account.acknowledged),
        "acknowledged": account.acknowledged.count(1),
        "completed": account.done(),
        "unknown": account.unknown,
        "refused": dict(account.refused),
        "left_out": account.left_out,
        "lost": account.lost(soak.states) if soak.states else None,
        "doubled": account.doubled(),
        "failed": len(soak.failed),
        "states": soak.states,
        "totals": soak.totals,
        "uses": {
            name: {node: list(use) for node, use in each.items()}
            for name, each in soak.uses.items()
        },
        "violations": len(soak.violations),
        "first_violations": [line[:300] for line in soak.violations[:5]],
    }
