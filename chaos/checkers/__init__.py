"""Promises, checked over a recorded history and what the node says at the end. Pure functions.

Each rule takes an `Evidence` and yields one sentence per violation. An unknown outcome may be
either. Only order in real time is relied on: what ended before something else began came first.
Cluster time never runs faster than the clock of the history, which gives the bounds for leases and
delays; where the clocks of nodes are made wrong, `Evidence` is told how wrong. `README.md` is the
table of the rules; `python -m chaos.checkers FILE` judges a history that was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chaos.checkers.account import (
    acknowledged_submits,
    nothing_hangs,
    one_task_per_id,
    payloads,
    ready_is_given_out,
    refused_submits,
    sums,
)
from chaos.checkers.clocks import ROUNDING_SECS
from chaos.checkers.due import never_early
from chaos.checkers.evidence import FINAL, Evidence
from chaos.checkers.leases import leases_end_late, stale_tokens, tokens_grow
from chaos.checkers.linear import linearizable
from chaos.checkers.order import in_order
from chaos.checkers.outcomes import (
    one_completion,
    outcomes_stay,
    reads_see_submits,
    refused_outcomes,
)
from chaos.checkers.reclaim import leases_end_in_time
from chaos.checkers.repeats import repeated_claim
from chaos.checkers.service import service_returns
from chaos.checkers.tokens import leases_are_told
from chaos.history import History

__all__ = ["CHECKERS", "FINAL", "ROUNDING_SECS", "Evidence", "repeated_claim", "violations"]

CHECKERS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    *(acknowledged_submits, refused_submits, one_task_per_id, sums, nothing_hangs, payloads),
    ready_is_given_out,
    *(one_completion, outcomes_stay, reads_see_submits, refused_outcomes),
    *(stale_tokens, leases_end_late, leases_end_in_time, tokens_grow, leases_are_told),
    *(never_early, in_order, linearizable, service_returns),
)


def violations(
    history: History,
    *,
    clock_rate: tuple[float, float] = (1.0, 1.0),
    clock_jump_secs: float = 0.0,
) -> list[str]:
    """Every broken promise, each with the name of its checker. The other arguments: see
    `Evidence`."""
    evidence = Evidence(history, clock_rate=clock_rate, clock_jump_secs=clock_jump_secs)
    return [f"{check.__name__}: {line}" for check in CHECKERS for line in check(evidence)]
