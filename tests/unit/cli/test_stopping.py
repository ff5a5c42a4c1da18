"""A signal that comes at the worst moment: while an event loop is made or closed."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from taskq.cli.stopping import Interrupted, StopSignals


def strike(monkeypatch: pytest.MonkeyPatch, method: str) -> list[str]:
    """A signal in the middle of a method of the runner; what was closed in the end."""
    closed: list[str] = []

    class Struck(asyncio.Runner):
        def get_loop(self) -> Any:
            if method == "get_loop":
                signal.raise_signal(signal.SIGTERM)
            return super().get_loop()

        def close(self) -> None:
            if method == "close":
                signal.raise_signal(signal.SIGTERM)
            super().close()
            closed.append("the loop")

    monkeypatch.setattr(asyncio, "Runner", Struck)
    return closed


@pytest.mark.parametrize("method", ["get_loop", "close"])
def test_a_signal_waits_until_the_loop_is_whole(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = strike(monkeypatch, method)

    async def work() -> None:
        if method == "get_loop":
            await asyncio.Event().wait()  # without end, unless it is cancelled

    with StopSignals() as stops, pytest.raises(Interrupted) as caught:
        stops.run(work())
    assert caught.value.code == 128 + signal.SIGTERM
    assert closed == ["the loop"]
