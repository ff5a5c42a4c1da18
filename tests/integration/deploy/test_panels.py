"""The dashboard on a cluster at work: a real Prometheus answers every query of every panel."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.harness.panels import PAGE, Answer, answers, page
from deploy.harness.queries import queries
from deploy.harness.rendering import ROOT, no_kubectl, render

# What is true while the example is at work: one task in ten fails for good; and seconds say nothing
# of a disk in twelve hours, so that alert has to be true for half an hour.
MEANT = {"alert TaskqDeadLetters", "alert TaskqDiskFilling"}


@pytest.fixture(scope="module")
def production_queries() -> set[str]:
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)
    return {one.text for one in queries(render(ROOT / "overlays/production"))}


def test_the_kept_page_is_about_the_queries_of_today(production_queries: set[str]) -> None:
    """After a change: `python -m deploy.harness.panels --keep`, which needs a Prometheus."""
    kept = PAGE.read_text("utf-8")
    alerts = render(ROOT / "overlays/production").one("PrometheusRule", "taskq")
    told = {rule["expr"] for group in alerts["spec"]["groups"] for rule in group["rules"]}
    for text in production_queries - told:
        assert f"`{text}`" in kept.replace("\\|", "|")


@pytest.mark.slow
def test_every_panel_has_something_to_show(tmp_path: Path, production_queries: set[str]) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus (Debian: prometheus)")
    found: list[Answer] = answers(tmp_path)
    assert {one.query.text for one in found} == production_queries
    panels = [one for one in found if not one.query.where.startswith("alert")]
    assert [one.query.where for one in panels if not one.series] == []
    fired = {one.query.where for one in found if one.query.where.startswith("alert") and one.series}
    assert fired <= MEANT, found
    told = {"commit": "c", "when": "w", "machine": "m"}
    lines = [line for line in page(found, told).splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0][2:] for line in lines[1:]] == [one.query.where for one in panels]
