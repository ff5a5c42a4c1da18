"""What is done to the ways between hosts is really done: measured by programs on those hosts."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from statistics import fmean

import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.ground import CLIENTS, Way
from chaos.live.namespaces import NAMESPACES, Namespaces, sweep
from chaos.live.nemesis import Nemesis, Scene
from chaos.live.network_faults import (
    DEAF,
    FLAPPING,
    ISOLATION,
    MUTE,
    PARTITION,
    RING,
    SHATTER,
)
from tests.integration.chaos.hosts import Posts, Talk

pytestmark = pytest.mark.root

NAMES = tuple(f"n{number}" for number in range(1, 6))
EVERYBODY = (*NAMES, CLIENTS)
ALL_WAYS = set(permutations(EVERYBODY, 2))
# A machine that does ten other things.
LATE_SECS = 0.1


@pytest.fixture(scope="module")
def ground(five_hosts: LiveCluster) -> Namespaces:
    assert isinstance(five_hosts.ground, Namespaces)
    return five_hosts.ground


@pytest.fixture(scope="module")
def posts(ground: Namespaces) -> Iterator[Posts]:
    with Posts(ground, NAMES) as made:
        yield made


def between(some: tuple[str, ...], others: tuple[str, ...]) -> set[Way]:
    """Both directions."""
    return {way for one in some for other in others for way in ((one, other), (other, one))}


CUTS = [
    (PARTITION, ("n2",), between(("n2",), ("n1", "n3", "n4", "n5"))),
    (PARTITION, ("n2", "n4"), between(("n2", "n4"), ("n1", "n3", "n5"))),
    (SHATTER, NAMES, set(permutations(NAMES, 2))),
    (ISOLATION, ("n1",), between(("n1",), ("n2", "n3", "n4", "n5", CLIENTS))),
    (DEAF, ("n3",), {(other, "n3") for other in NAMES if other != "n3"}),
    (MUTE, ("n3",), {("n3", other) for other in NAMES if other != "n3"}),
]


@pytest.mark.parametrize(
    ("nemesis", "names", "cut"),
    CUTS,
    ids=[f"{one.name}@{'+'.join(names)}" for one, names, _ in CUTS],
)
async def test_a_cut_cuts_what_it_says_and_nothing_else(
    five_hosts: LiveCluster, posts: Posts, nemesis: Nemesis, names: tuple[str, ...], cut: set[Way]
) -> None:
    async with nemesis.harm(Scene(five_hosts, random.Random(1)), names):
        assert ALL_WAYS - posts.open_ways() == cut
    assert posts.open_ways() == ALL_WAYS


async def test_in_a_ring_everybody_sees_a_majority_and_no_two_the_same(
    five_hosts: LiveCluster, posts: Posts
) -> None:
    async with RING.harm(Scene(five_hosts, random.Random(1)), ("n4",)):
        open_ways = posts.open_ways()
    seen = {frozenset(one for way in open_ways if name in way for one in way) for name in NAMES}
    assert {len(one - {CLIENTS}) for one in seen} == {3}
    assert len(seen) == 5


async def test_a_flapping_link_is_there_and_is_not(five_hosts: LiveCluster, posts: Posts) -> None:
    way = ("n1", "n2")
    async with FLAPPING.harm(Scene(five_hosts, random.Random(2)), ("n2",)):
        pace = {"count": 150, "apart_secs": 0.02, "wait_secs": LATE_SECS}
        heard = (await asyncio.to_thread(posts.lateness, [way], **pace))[way]
    assert 15 < len(heard) < 135, len(heard)
    assert posts.open_ways() == ALL_WAYS


def test_packets_are_held_up_and_lost_as_was_asked(ground: Namespaces, posts: Posts) -> None:
    way, back = ("n1", "n2"), ("n2", "n1")
    lost_before = ground.links.lost
    mend = ground.links.worsen([way], delay_secs=0.1, jitter_secs=0.05, loss=0.2)
    late = posts.lateness([way], count=500, apart_secs=0.002, wait_secs=0.5)[way]
    heard_back = posts.lateness([back], count=100, wait_secs=LATE_SECS)[back]
    mend()
    assert min(late) > 0.05
    assert sorted(late)[len(late) * 9 // 10] < 0.15 + LATE_SECS
    assert 0.09 < fmean(late) < 0.11 + LATE_SECS / 2
    # Of 500 with a chance of 0.2: 100 ± 5 standard deviations.
    assert 55 < 500 - len(late) < 145
    assert ground.links.lost - lost_before == 500 - len(late)
    assert len(heard_back) == 100, "the other direction is as before"
    assert fmean(heard_back) < LATE_SECS / 2
    healed = posts.lateness([way], count=100, wait_secs=LATE_SECS)[way]
    assert len(healed) == 100
    assert fmean(healed) < LATE_SECS / 2


def test_a_cut_counts_before_a_delay_and_each_is_mended_by_itself(
    ground: Namespaces, posts: Posts
) -> None:
    way = ("n4", "n5")
    late = ground.links.worsen([way], delay_secs=0.1, jitter_secs=0.0, loss=0.0)
    cut = ground.links.cut([way])
    again = ground.links.cut([way, ("n5", "n4")])
    assert way not in posts.lateness([way], wait_secs=0.3)
    cut()
    assert way not in posts.lateness([way], wait_secs=0.3)
    again()
    assert min(posts.lateness([way], wait_secs=0.3)[way]) > 0.1
    late()
    assert max(posts.lateness([way], wait_secs=LATE_SECS)[way]) < 0.1
    assert posts.open_ways() == ALL_WAYS


def test_an_open_connection_feels_the_delay_and_outlives_a_cut(ground: Namespaces) -> None:
    both = [("n1", "n2"), ("n2", "n1")]
    with Talk(ground, "n1", "n2") as talk:
        talk.begin()
        assert talk.took_secs() < LATE_SECS
        mend = ground.links.worsen(both, delay_secs=0.1, jitter_secs=0.05, loss=0.0)
        talk.begin()
        assert 0.1 < talk.took_secs() < 0.3 + LATE_SECS
        mend()
        mend = ground.links.cut(both[:1])
        talk.begin(1_000)
        time.sleep(0.5)
        mend()
        # Sent again after waits that double: one of those is under way when the link is back.
        assert 0.5 < talk.took_secs() < 1.5


def test_segments_of_one_large_send_are_lost_one_by_one(ground: Namespaces) -> None:
    lost_before, passed_before = ground.links.lost, ground.links.passed
    mend = ground.links.worsen([("n1", "n2")], delay_secs=0.0, jitter_secs=0.0, loss=0.02)
    with Talk(ground, "n1", "n2") as talk:
        talk.begin(1_000_000)
        talk.took_secs()
    mend()
    assert ground.links.passed - passed_before > 1_000_000 / 1500
    assert ground.links.lost - lost_before > 2


# --- what is left ---------------------------------------------------------------------------------

RUN = """
import subprocess, sys, time
from chaos.live.namespaces import Namespaces
with Namespaces() as ground:
    ground.prepare(["n1", "n2"])
    mend = ground.links.worsen([("n1", "n2")], delay_secs=9, jitter_secs=0, loss=0)
    held = subprocess.Popen([*ground.inside("n1"), "sleep", "1000"], start_new_session=True)
    print(ground.inside("n1")[1].partition("=")[2], held.pid, flush=True)
    time.sleep(1000)
"""


def interrupted(sign: signal.Signals) -> tuple[Path, int]:
    """A run that ends by this signal: the namespace of one of its hosts, the pid of what it started
    there."""
    root = Path(__file__).parents[3]
    words = [sys.executable, "-c", RUN]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root) as run:
        assert run.stdout is not None
        namespace, pid = run.stdout.readline().split()
        assert Path(namespace).exists()
        run.send_signal(sign)
    return Path(namespace), int(pid)


def runs(pid: int) -> bool:
    """Not even as a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def hosts_of(namespace: Path) -> list[Path]:
    slot = namespace.name.partition("-")[0]
    return [*NAMESPACES.glob(f"{slot}-*"), *Path("/sys/class/net").glob(slot)]


def test_ctrl_c_leaves_nothing() -> None:
    namespace, pid = interrupted(signal.SIGINT)
    assert hosts_of(namespace) == []
    assert not runs(pid)


def test_what_a_killed_run_left_is_removed_by_the_next_and_that_of_a_living_one_is_not(
    ground: Namespaces,
) -> None:
    namespace, pid = interrupted(signal.SIGKILL)
    assert len(hosts_of(namespace)) == 4
    assert runs(pid)
    try:
        sweep()
    finally:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)
    assert hosts_of(namespace) == []
    assert not runs(pid)
    own = Path(ground.inside("n1")[1].partition("=")[2])
    assert own.exists()
