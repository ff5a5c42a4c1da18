"""Gaps between acknowledgements: what counts as time without service."""

from __future__ import annotations

import math

import pytest

from chaos.live.gaps import first_after, longest_gap

ACKS = [1.0, 1.01, 1.02, 1.5, 1.51, 2.0, 2.01]


@pytest.mark.parametrize(
    ("since", "until", "gap"),
    [
        pytest.param(1.005, 1.6, 0.49, id="a gap that begins and one that ends outside counts"),
        pytest.param(1.005, 1.4, 0.48, id="it ends after the window"),
        pytest.param(1.1, 1.2, 0.48, id="it holds the window"),
        pytest.param(1.005, 1.02, 0.01, id="up to an acknowledgement, not the gap behind it"),
        pytest.param(1.505, 2.005, 0.49, id="the longest of several"),
        pytest.param(0.5, 1.2, math.inf, id="nobody knows when service began"),
        pytest.param(1.6, 2.5, math.inf, id="nobody knows when it came back"),
        pytest.param(1.0, 1.2, math.inf, id="an acknowledgement at the fault came before nothing"),
    ],
)
def test_longest_gap(since: float, until: float, gap: float) -> None:
    assert longest_gap(ACKS, since, until) == pytest.approx(gap)


def test_first_after() -> None:
    assert first_after(ACKS, 1.02) == 1.02
    assert first_after(ACKS, 1.03) == 1.5
    assert first_after(ACKS, 3.0) == math.inf
