"""What a bad disk leaves behind is cleared up: whoever has ended runs again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.live import disk_faults
from chaos.live.disk_faults import started_again
from chaos.live.node import NodeDied


class Node:
    """It is starting; `ends`: at its disk. `said`: the levels of its last lines."""

    returncode = 1

    def __init__(self, *, ends: bool, said: tuple[str, ...] = ("error",)) -> None:
        self.running = True
        self.spawned = 0
        self._ends = ends
        self._said = said

    async def serving(self) -> float:
        await asyncio.sleep(0)
        if self._ends:
            self.running = False
            raise NodeDied("exit code 1")
        return 0.1

    def log_lines(self) -> list[dict[str, Any]]:
        return [{"level": level} for level in self._said]

    def log_tail(self) -> str:
        return "its last lines"

    def spawn(self) -> None:
        self.spawned += 1


def started(monkeypatch: pytest.MonkeyPatch, **nodes: Node) -> None:
    monkeypatch.setattr(disk_faults, "ENDS_SECS", 0.0)
    scene: Any = SimpleNamespace(cluster=SimpleNamespace(nodes=nodes))
    asyncio.run(started_again(scene, tuple(nodes)))


def test_a_node_that_ends_while_it_starts_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, lives = Node(ends=True), Node(ends=False)
    started(monkeypatch, n1=ended, n2=lives)
    assert (ended.spawned, lives.spawned) == (1, 0)


def test_who_ends_without_a_word_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="n1 ended with 1 without a word: its last lines"):
        started(monkeypatch, n1=Node(ends=True, said=("info",)))
