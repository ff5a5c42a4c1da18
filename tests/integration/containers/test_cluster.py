"""Three containers are a cluster: struck under load they lose nothing, and service comes back."""

from __future__ import annotations

import asyncio
import faulthandler
from collections import Counter

import pytest

from chaos.live.campaign import Round, carry_out
from chaos.live.containers import Containers
from chaos.live.nemeses import Aim

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60, func_only=True)]

# The last of them is no crash: all are asked to stop and started again.
PLAN = ["kill@leader", "kill@all", "stop@all"]
# A machine that does ten other things; what a quiet one needs is in chaos/RESULTS.md.
GAP_SECS_MAX = 15.0


@pytest.fixture(scope="module")
def struck(image: str, tmp_path_factory: pytest.TempPathFactory) -> Round:
    faulthandler.cancel_dump_traceback_later()
    plan = iter([Aim.parse(one) for one in PLAN])
    found = Round(20261122, plan, tmp_path_factory.mktemp("struck"), Containers(image))
    asyncio.run(carry_out(found))
    return found


def test_no_promise_is_broken(struck: Round) -> None:
    assert struck.verdict.violations == []
    assert [str(aim) for aim in struck.struck] == PLAN
    assert len(struck.strikes) == len(PLAN)


def test_the_load_did_its_work_through_all_of_it(struck: Round) -> None:
    done = Counter((call.kind, call.outcome) for call in struck.history.calls)
    assert done["submit", "ok"] > 1_000
    assert done["complete", "ok"] > 300
    assert done["complete", "refused"] > 0, "no stale token was ever tried"
    assert struck.history.final is not None
    assert len(struck.history.final.tasks) > 1_000


def test_service_comes_back_after_every_strike(struck: Round) -> None:
    gaps = [strike.gap(struck.acks) for strike in struck.strikes]
    assert max(gaps) < GAP_SECS_MAX, gaps
    assert min(gaps[1:]) > 0.5, "a container does not start faster: were all of them down?"
    assert struck.strikes[0].without, "the others go on without the leader"
    assert struck.failed == []
