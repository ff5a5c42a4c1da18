"""What a budget lets go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from deploy.harness.budget import EvictionRefused, check_eviction


@dataclass
class APod:
    ready_since: float | None = 1.0
    terminating: bool = False


def budget(**spec: Any) -> dict[str, Any]:
    return {"spec": {"selector": {}, **spec}}


@pytest.mark.parametrize("spec", [{"maxUnavailable": 1}, {"minAvailable": 2}], ids=str)
def test_one_of_three_may_go(spec: dict[str, Any]) -> None:
    check_eviction(budget(**spec), [APod(), APod(), APod()], 3)


@pytest.mark.parametrize(
    "pods",
    [
        [APod(), APod()],
        [APod(), APod(), APod(terminating=True)],
        [APod(), APod(), APod(ready_since=None)],
    ],
    ids=["gone", "terminating", "not ready"],
)
def test_no_second_one_goes(pods: list[APod]) -> None:
    with pytest.raises(EvictionRefused, match="2 of 3 are healthy, 2 are needed"):
        check_eviction(budget(maxUnavailable=1), pods, 3)


def test_the_only_one_may_go() -> None:
    """Or its machine could never be drained."""
    check_eviction(budget(maxUnavailable=1), [APod()], 1)
    with pytest.raises(EvictionRefused):
        check_eviction(budget(minAvailable=1), [APod()], 1)
