"""The feature level: in the state, read by one gate, and entries beyond it change nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from taskq import commands, levels
from taskq.levels import FEATURES, LEVEL_FIRST, LEVEL_LIMIT, LEVEL_MAX, LEVEL_MIN, Build
from taskq.machine.entry import UnreadableEntry, decode_entry, encode_entry
from taskq.machine.machine import HANDLERS, Machine
from taskq.machine.state import State
from taskq.machine.view import MemoryView

SOURCES = Path(levels.__file__).parent
SUBMIT = commands.SubmitTask(bytes(16), "q")


def machine_at(level: int) -> tuple[MemoryView, Machine]:
    view = MemoryView()
    machine = Machine(view, level)
    machine.apply(encode_entry(0, 0, [commands.RaiseLevel(level)], level))
    return view, machine


def test_levels_have_no_gap_and_fit_a_byte() -> None:
    assert list(FEATURES) == list(range(LEVEL_MIN, LEVEL_MAX + 1))
    assert LEVEL_FIRST <= LEVEL_MIN <= LEVEL_MAX <= LEVEL_LIMIT
    assert all(FEATURES.values())


def test_the_level_survives_a_load_and_the_gate_opens_from_it_on() -> None:
    view, machine = machine_at(7)
    for one in (machine, Machine(view, 7)):
        assert one.level == 7
        assert [one._state.runs(level) for level in (1, 6, 7, 8, 255)] == [True] * 3 + [False] * 2


def test_the_level_acts_from_the_next_command_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one entry, too: all nodes open the gate at the same command."""
    seen: list[bool] = []
    submit = HANDLERS[commands.SubmitTask]

    def watched(state: State, command: commands.SubmitTask) -> Any:
        seen.append(state.runs(2))
        return submit(state, command)

    monkeypatch.setitem(HANDLERS, commands.SubmitTask, watched)
    machine = Machine(MemoryView(), 2)
    machine.apply(encode_entry(0, 0, [SUBMIT, commands.RaiseLevel(2), SUBMIT], 2))
    assert seen == [False, True]


def entries_of_other_versions() -> Iterator[tuple[str, bytes, str]]:
    good = encode_entry(5, 5, [SUBMIT])
    code, fields = 0x10, list(SUBMIT)
    yield (
        "later",
        bytes([LEVEL_MAX + 1]) + good[1:],
        f"start a version that runs level {LEVEL_MAX + 1}",
    )
    yield (
        "raise",
        encode_entry(5, 5, [commands.RaiseLevel(9)], 9),
        "start a version that runs level 9",
    )
    yield "zero", b"\0" + good[1:], "of feature level 0"
    yield "empty", b"", "of feature level 0"
    yield "kind", b"\1" + msgpack.packb((5, 5, [(0x7D, [1])])), "what no version makes.*125"
    yield "field", b"\1" + msgpack.packb((5, 5, [(code, [*fields, 1])])), "what no version makes"
    yield "cut", good[:-2], "what no version makes at feature level 1"
    yield "behind", good + b"\0", "what no version makes"
    yield "shape", b"\1" + msgpack.packb(5), "what no version makes"
    first = msgpack.packb((5, 5, [(code, fields), (0x7D, [])]))
    yield "second", b"\1" + first, "what no version makes"


@pytest.mark.parametrize(
    ("entry", "why"), [pytest.param(*rest, id=name) for name, *rest in entries_of_other_versions()]
)
def test_an_entry_of_another_version_is_refused_before_anything_of_it_is_applied(
    entry: bytes, why: str
) -> None:
    view = MemoryView()
    machine = Machine(view)
    machine.apply(encode_entry(1, 1, [commands.SubmitTask(b"\1" * 16, "q")]))
    before = dict(view.values)
    with pytest.raises(UnreadableEntry, match=why):
        machine.apply(entry)
    assert view.values == before
    assert (machine.elapsed_ms, machine.wall_ms, machine.level) == (1, 1, LEVEL_FIRST)
    machine.apply(encode_entry(2, 2, [SUBMIT]))  # the same machine goes on, as a test may want


def test_an_entry_that_was_proposed_before_the_level_rose_is_still_read() -> None:
    _, machine = machine_at(3)
    assert machine.apply(encode_entry(1, 1, [SUBMIT], 1)).results
    assert decode_entry(encode_entry(1, 1, [SUBMIT], 2), 3)[2] == [SUBMIT]


def gates(source: str) -> list[int]:
    """Lines that compare a level by themselves."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Attribute) and side.attr == "level" for side in sides):
                found.append(node.lineno)
    return found


def test_the_machine_asks_one_gate() -> None:
    """Whoever wants to know what a change is gated by looks for `state.runs(`."""
    known = {"state.py", "level.py"}  # the gate, and what raises the level
    for path in sorted((SOURCES / "machine").glob("*.py")):
        found = gates(path.read_text("utf-8"))
        assert bool(found) == (path.name in known), f"{path.name}: {found}"
    assert gates("if state.level >= 2:\n    pass") == [1]
    assert gates("if state.runs(2):\n    pass") == []


def test_a_build_tells_what_it_runs() -> None:
    assert Build("1.2").text() == "taskq 1.2, which runs feature level 1"
    assert Build("1.2", 2, 4).text() == "taskq 1.2, which runs feature level 2 to 4"
    assert [Build("", 2, 3).runs(level) for level in (1, 2, 3, 4)] == [False, True, True, False]
