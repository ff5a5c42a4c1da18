"""`taskq stats --json`: seconds, dates and names that scripts may rely on."""

from __future__ import annotations

import json

import pytest

from taskq.cli.output import print_json
from taskq.cli.stats import stats_document
from taskq.limits import DURATION_BUCKETS_MS
from taskq.results import Stats


def test_times_are_seconds_and_dates_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    durations = [1] + [0] * len(DURATION_BUCKETS_MS)
    stats = Stats(
        *({"ready": 2}, {"submitted": 3}, durations, 1_500, 10, 20, 30),
        *(1, 0, 61_000, 1_700_000_000_000, "n1", "n1", 4, 5),
    )
    print_json(stats_document(stats, [], []))
    document = json.loads(capsys.readouterr().out)
    assert not [name for name in document if name.endswith("_ms")]
    assert document["duration_sum"] == 1.5
    assert document["cluster_time"] == 61.0
    assert document["wall_at"] == "2023-11-14T22:13:20.000Z"
    assert document["durations"][0] == {"up_to_secs": 0.005, "count": 1}
    assert document["durations"][-1] == {"up_to_secs": None, "count": 0}
    assert (document["queue_count"], document["queues"]) == (1, [])
