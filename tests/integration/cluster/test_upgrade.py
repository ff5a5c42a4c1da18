"""Two versions in one cluster: rolled forth, back and forth again under load, then raised for good.

The later version is made by `tests/builds/tomorrow.py`. Everything is seen from outside: what the
load heard is judged as in a campaign, and the states on the disks must be the same.
"""

from __future__ import annotations

import asyncio
import faulthandler

import pytest

from chaos.live.upgrade import MARKED_AT, Run, run_upgrade, summary
from cluster.replication.build import OWN_BUILD
from taskq.results import Upgraded
from tests.builds import tomorrow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TODAY = OWN_BUILD.version
RAISED = {"raised", "after"}


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    # Longer than the time after which every stack is printed; `timeout` still does it.
    faulthandler.cancel_dump_traceback_later()
    home = tmp_path_factory.mktemp("upgrade")
    run = Run(home, tomorrow.make(home / "tomorrow"))
    asyncio.run(run_upgrade(run))
    return run


def test_nothing_is_lost_and_the_states_are_the_same(upgraded: Run) -> None:
    assert upgraded.violations == []
    done = [call for call in upgraded.history.calls if call.ok]
    assert sum(call.kind == "submit" for call in done) > 500
    assert sum(call.kind == "complete" for call in done) > 200
    assert summary(upgraded)["rolls"] == 10


def test_versions_and_level_are_told(upgraded: Run) -> None:
    old, new = TODAY, tomorrow.VERSION
    assert upgraded.seen == [
        ("old", {"n1": old, "n2": old, "n3": old}, 1, 1),
        ("one new", {"n1": new, "n2": old, "n3": old}, 1, 1),
        ("all new", {"n1": new, "n2": new, "n3": new}, 1, 2),
        ("all old again", {"n1": old, "n2": old, "n3": old}, 1, 1),
        ("all new again", {"n1": new, "n2": new, "n3": new}, 1, 2),
        ("raised", {"n1": new, "n2": new, "n3": new}, 2, 2),
        ("after", {"n1": new, "n2": new, "n3": new}, 2, 2),
    ]


def test_nothing_new_is_done_before_the_level_is_raised(upgraded: Run) -> None:
    for when, outcome in upgraded.resumed:
        assert (outcome == "done") == (when in RAISED), when
    assert [when for when, _ in upgraded.marked] == list(MARKED_AT)
    for when, outcome in upgraded.marked:
        assert (outcome == "Done()") == (when in RAISED), when
        assert outcome == "Done()" or outcome.startswith("UNKNOWN_MESSAGE"), (when, outcome)


def test_it_is_not_raised_while_one_member_is_old(upgraded: Run) -> None:
    (why,) = upgraded.refusals
    assert f"stays at 1: n2 is taskq {TODAY}, which runs feature level 1; n3 is" in why
    assert upgraded.raised == Upgraded(1, 2)


def test_the_old_version_refuses_to_start_and_says_why(upgraded: Run) -> None:
    assert upgraded.old_code == 1
    assert "start a version that runs level 2" in upgraded.old_said
    assert f"taskq {TODAY}, which runs feature level 1" in upgraded.old_said
    assert "Traceback" not in upgraded.old_said
