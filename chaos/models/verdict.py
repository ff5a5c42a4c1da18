"""Every model with its wordings, and what a search must find for each.

A rule must pass: no breach, and every milestone seen. An unsafe wording must be caught: a breach
with its trace. Called by the tests, by `python -m chaos.models` and by the page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chaos.models import (
    append,
    cluster_time,
    elections,
    flush,
    founding,
    joining,
    members,
    nonvoting,
    reads,
    snapshot,
    transfer,
    uncertain,
)
from chaos.models.explore import Model, Outcome, Progress, explore

# The widest space of a rule within its own bound has 208,000 states; what a mistake in a model
# could make endless ends here.
STATES_MAX = 240_000


@dataclass(frozen=True)
class Topic:
    """A file: the rules that it models, its wordings (the first is the rule) and its model."""

    name: str
    rules: str
    wordings: type[StrEnum]
    # The wording, and by how much the bound is widened.
    model: Callable[[Any, int], Model[Any]]

    @property
    def sentences(self) -> list[str]:
        """The paragraphs of the file's docstring: title, rule, state, bound, what must hold."""
        text = sys.modules[self.wordings.__module__].__doc__ or ""
        return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


TOPICS = (
    Topic("flush", "A2", flush.Wording, flush.Model),
    Topic("append", "A3, A4", append.Wording, append.Model),
    Topic("elections", "A5, A4", elections.Wording, elections.Model),
    Topic("reads", "A6", reads.Wording, reads.Model),
    Topic("transfer", "A7", transfer.Wording, transfer.Model),
    Topic("nonvoting", "A8", nonvoting.Wording, nonvoting.Model),
    Topic("uncertain", "L4, A8, A10", uncertain.Wording, uncertain.Model),
    Topic("founding", "A9", founding.Wording, founding.Model),
    Topic("members", "A10, A4", members.Wording, members.Model),
    Topic("joining", "A10, A8", joining.Wording, joining.Model),
    Topic("snapshot", "A11, A12", snapshot.Wording, snapshot.Model),
    Topic("cluster_time", "design, section 5", cluster_time.Wording, cluster_time.Model),
)
CASES = [(topic, wording) for topic in TOPICS for wording in topic.wordings]


@dataclass(frozen=True)
class Verdict:
    """What a search of one wording found, and `complaint`: why that is not what it must find."""

    topic: Topic
    wording: StrEnum
    outcome: Outcome
    complaint: str | None


def judge(
    topic: Topic,
    wording: StrEnum,
    *,
    states_max: int = STATES_MAX,
    wider: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Verdict:
    """Search one wording within its bound, widened by `wider`, up to `states_max` states."""
    model = topic.model(wording, wider)
    outcome = explore(model, states_max=states_max, progress=progress)
    return Verdict(topic, wording, outcome, _complaint(wording, model, outcome))


def _complaint(wording: StrEnum, model: Model[Any], outcome: Outcome) -> str | None:
    if wording.name != "RULE":
        return None if outcome.sentence else "the unsafe wording was not caught"
    if outcome.sentence:
        return f"the rule as worded is broken: {outcome.sentence}"
    if unseen := model.milestones - outcome.deeds:
        return f"nothing was tried: {', '.join(sorted(unseen))} never happened"
    return None
