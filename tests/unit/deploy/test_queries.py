"""Which metrics a query is about."""

from __future__ import annotations

import pytest

from deploy.harness.queries import Selector, runnable, selectors


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sum by (namespace) (tq_is_leader) == 0", [Selector("tq_is_leader")]),
        (
            'max(rate(tq_tasks_total{outcome="dead",namespace="$namespace"}[5m])) > 1.5e3',
            [Selector("tq_tasks_total", (("outcome", "dead"),))],
        ),
        (
            "max by (n) (a) - on (n) group_right () min by (n, pod) (b) > 10000",
            [Selector("a"), Selector("b")],
        ),
        (
            'histogram_quantile(0.5, sum by (le) (rate(d_bucket{x!="ok"}[$__rate_interval])))',
            [Selector("d_bucket")],
        ),
        ("predict_linear(free[1h], 12 * 3600) < 0", [Selector("free")]),
        ('a{l="1"} > 0 and b == 0', [Selector("a", (("l", "1"),)), Selector("b")]),
    ],
)
def test_selectors(text: str, found: list[Selector]) -> None:
    assert list(selectors(text)) == found


def test_what_grafana_puts_in() -> None:
    text = 'rate(a{namespace="$namespace"}[$__rate_interval])'
    assert runnable(text, "here") == 'rate(a{namespace="here"}[1m])'
