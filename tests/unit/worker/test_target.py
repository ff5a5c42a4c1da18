"""Names of Python things, and what they stand for."""

from __future__ import annotations

import json

import pytest

from taskq.worker.target import Target, WorkerError, load, parse_target, target_of, target_of_object


def test_target_by_name() -> None:
    assert parse_target("a.b:C.d") == Target("a.b", "C.d")
    assert load(Target("json", "JSONEncoder.encode")) is json.JSONEncoder.encode
    assert target_of(json.dumps) == Target("json", "dumps")


@pytest.mark.parametrize("text", ["", "a", "a:", ":b", "a:b:c"])
def test_target_that_is_none(text: str) -> None:
    with pytest.raises(WorkerError, match="write module:function"):
        parse_target(text)


def test_function_without_a_place_cannot_go_to_a_process() -> None:
    with pytest.raises(WorkerError, match="thread"):
        target_of(lambda: None)


HELD_BY_THIS_MODULE = object()


def test_object_is_found_by_the_name_that_holds_it() -> None:
    target = target_of_object(HELD_BY_THIS_MODULE)
    assert (target.name, target.script) == ("HELD_BY_THIS_MODULE", "")
    assert target.module == __name__
    with pytest.raises(WorkerError, match="assign it to a name"):
        target_of_object(object())
