"""What a healthy cluster under full load does not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.live.steady import Run, broken

HEALTHY = {"entries": 100, "sent": 200, "terms": (3, 3), "leaders": ("n1", "n1")}


def test_each_entry_once_to_two_followers_is_healthy() -> None:
    assert broken(Run(1.0, Path("/nowhere"), **HEALTHY)) == []


@pytest.mark.parametrize(
    ("differently", "told"),
    [
        ({"sent": 201}, "100 entries were written and 201 sent"),
        ({"sent": 199}, "100 entries were written and 199 sent"),
        ({"terms": (3, 4)}, "the leader changed"),
        ({"leaders": ("n1", "n2")}, "the leader changed"),
        ({"elections": 1}, "the leader changed"),
        ({"truncated": 1}, "1 times 'truncating already-applied'"),
    ],
)
def test_what_is_not(differently: dict[str, Any], told: str) -> None:
    (found,) = broken(Run(1.0, Path("/nowhere"), **{**HEALTHY, **differently}))
    assert found.startswith(told)
