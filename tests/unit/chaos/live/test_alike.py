"""Nodes that do not hold the same are told apart, with the first thing that differs."""

from __future__ import annotations

from chaos.live.alike import compare


def test_nodes_that_hold_the_same() -> None:
    assert compare("disk", 7, {"n1": {"a": 1}, "n2": {"a": 1}, "n3": {"a": 1}}) == []


def test_what_differs_is_named() -> None:
    (told,) = compare("disk", 7, {"n1": {"a": 1, "b": 2}, "n2": {"a": 1, "b": 3}})
    assert told == "alike: disk of n2 and n1 differ at index 7: b: 3 and 2"


def test_what_only_one_has_differs() -> None:
    first, second = compare("answers", 7, {"n1": {"a": 1}, "n2": {}, "n3": {"a": 1, "b": 2}})
    assert first.endswith("a: None and 1")
    assert second.endswith("b: 2 and None")
