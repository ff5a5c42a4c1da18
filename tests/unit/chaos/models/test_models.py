"""Every rule passes its whole space, and every unsafe wording of it is caught."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest

from chaos.models import append, verdict
from chaos.models.page import PAGE, render
from chaos.models.verdict import CASES, TOPICS, Topic, judge

FOLDER = Path(verdict.__file__).parent
MACHINERY = {"__init__", "__main__", "explore", "page", "verdict"}
# Their spaces take a minute of one processor: what tests them changes with no line of a node.
SPACIOUS = {"elections", "joining", "members", "nonvoting", "snapshot", "uncertain"}


@pytest.mark.parametrize(
    ("topic", "wording"),
    [
        pytest.param(
            topic,
            wording,
            id=f"{topic.name}-{wording.name}",
            marks=[pytest.mark.slow, pytest.mark.timeout(180)] if topic.name in SPACIOUS else [],
        )
        for topic, wording in CASES
    ],
)
def test_wording(topic: Topic, wording: StrEnum) -> None:
    found = judge(topic, wording)
    assert found.complaint is None, "\n".join(found.outcome.trace)
    if wording.name == "RULE":
        assert found.outcome.exhausted, "widen STATES_MAX or narrow the bound: not all was seen"
    else:
        # The longest so far has 22 steps: a trace that nobody can follow teaches nothing.
        assert len(found.outcome.trace) <= 30


def test_every_model_is_in_the_table() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - MACHINERY
    assert {topic.name for topic in TOPICS} == files


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_first_wording_is_the_rule(topic: Topic) -> None:
    first, *unsafe = topic.wordings
    assert (first.name, first.value) == ("RULE", "as worded")
    assert unsafe


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_docstring_has_its_parts(topic: Topic) -> None:
    _, *rest = topic.sentences
    assert [part.partition(":")[0] for part in rest[:3]] == ["The rule", "State", "Bound"]
    assert len(rest) == 4


def test_a_rule_that_is_broken_is_complained_of(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = next(topic for topic in TOPICS if topic.name == "append")
    monkeypatch.setattr(append.Model, "broken", lambda *_: "all is lost")
    assert judge(topic, append.Wording.RULE).complaint == (
        "the rule as worded is broken: all is lost"
    )


def test_a_rule_that_was_not_tried_is_complained_of(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = next(topic for topic in TOPICS if topic.name == "append")
    monkeypatch.setattr(append.Model, "steps", lambda *_: iter(()))
    complaint = judge(topic, append.Wording.RULE).complaint
    assert complaint is not None
    assert "never happened" in complaint


def test_an_unsafe_wording_that_passes_is_complained_of() -> None:
    topic = next(topic for topic in TOPICS if topic.name == "append")
    complaint = judge(topic, append.Wording.CUTS_ON_NOTHING, states_max=10).complaint
    assert complaint == "the unsafe wording was not caught"


def test_page_is_made_from_the_table() -> None:
    assert PAGE.read_text("utf-8") == render(), "python -m chaos.models.page, do not edit"
