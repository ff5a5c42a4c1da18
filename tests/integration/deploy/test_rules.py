"""Alerts: promtool takes the rules, and they fire when they should. Queries are Prometheus' own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.harness.queries import queries, runnable
from deploy.harness.rendering import ROOT, Objects, no_kubectl, render

HERE = Path(__file__).parent
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="there is no promtool (Debian: prometheus)"
)


@pytest.fixture(scope="module")
def production() -> Objects:
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)
    return render(ROOT / "overlays/production")


@pytest.fixture
def rules(production: Objects, tmp_path: Path) -> Path:
    """As Prometheus takes them."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(production.one("PrometheusRule", "taskq")["spec"]))
    return path


def promtool(*words: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROMTOOL, *map(str, words)], capture_output=True, text=True, timeout=20)


def test_the_rules_are_well_formed(rules: Path) -> None:
    done = promtool("check", "rules", rules)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 rules found" in done.stdout


def test_alerts_fire_when_they_should(rules: Path) -> None:
    shutil.copy(HERE / "alerts.yaml", rules.parent)
    done = promtool("test", "rules", rules.parent / "alerts.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_does_not_fire_is_seen(rules: Path) -> None:
    text = rules.read_text()
    rules.write_text(text.replace("(tq_is_leader) == 0", "(tq_is_leader) == 7"))
    assert text != rules.read_text()
    shutil.copy(HERE / "alerts.yaml", rules.parent)
    done = promtool("test", "rules", rules.parent / "alerts.yaml")
    assert done.returncode != 0
    assert "TaskqNoLeader" in done.stdout + done.stderr


def test_every_query_is_well_formed(production: Objects, tmp_path: Path) -> None:
    """Those of panels and triggers, too: as rules, since promtool has no other door for them."""
    found = queries(production)
    records = [
        {"record": f"query:{place}", "expr": runnable(one.text, "taskq")}
        for place, one in enumerate(found)
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(found)} rules found" in done.stdout
