"""What strikes is chosen by a seed, or told; each fault that was asked for comes so often."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from chaos.live.ground import FOLDER, LINKS, SHIM
from chaos.live.nemeses import ALL_NEMESES, Aim, aims, drawn, filled, on_disks
from chaos.live.nemesis import TARGETS

PROCESSES = frozenset({SHIM, FOLDER})
KILL, PAUSE = Aim("kill", "leader"), Aim("pause", "all")


def test_every_nemesis_has_targets_and_a_name_of_its_own() -> None:
    for name, nemesis in ALL_NEMESES.items():
        assert nemesis.name == name
        assert nemesis.targets
        assert set(nemesis.targets) <= set(TARGETS)
        assert ";" not in name, "it parts them on the command line"
        assert nemesis.lasts_secs[0] <= nemesis.lasts_secs[1]
        assert not (nemesis.planned and nemesis.silent)


def test_an_aim_goes_through_text() -> None:
    for aim in aims(PROCESSES | {LINKS}):
        assert Aim.parse(str(aim)) == aim
    assert Aim.parse("  kill@leader ") == KILL


@pytest.mark.parametrize("text", ["", "kill", "kill@", "kill@nobody", "tickle@leader", "@leader"])
def test_what_is_no_aim_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        Aim.parse(text)


def test_a_ground_without_links_gets_no_cut_links() -> None:
    without = {one.fault for one in aims(PROCESSES)}
    all_of_them = {one.fault for one in aims(PROCESSES | {LINKS})}
    assert "kill" in without
    assert "partition" in all_of_them - without
    assert all(LINKS in ALL_NEMESES[name].needs for name in all_of_them - without)


def test_faults_and_targets_can_be_chosen() -> None:
    assert aims(PROCESSES, ["kill"], ["leader", "all"]) == [KILL, Aim("kill", "all")]
    assert not on_disks([KILL])
    assert on_disks([KILL, Aim("power cut", "all")])


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    deck = aims(PROCESSES)
    first, again, other = (list(islice(drawn(deck, seed), 500)) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert set(first[: len(deck)]) == set(deck), "all of it, before any comes again"


def test_nothing_is_drawn_from_nothing() -> None:
    assert list(drawn([], 7)) == []


def test_each_nemesis_is_filled_up_whoever_it_met_the_rarest_first() -> None:
    other = Aim(KILL.fault, "follower")
    plan = filled([KILL, other, PAUSE], 3, {KILL: 2}, seed=1)
    assert Counter(plan) == {other: 1, PAUSE: 3}, "at whom it has met least"
    assert plan[:2] == [PAUSE, PAUSE]
    assert filled([KILL, other], 2, {KILL: 1, other: 5}, seed=1) == []
    assert filled([], 2, {}, seed=1) == []


def test_the_same_seed_fills_up_in_the_same_order() -> None:
    deck = aims(PROCESSES)
    assert filled(deck, 2, {}, 7) == filled(deck, 2, {}, 7)
    assert filled(deck, 2, {}, 7) != filled(deck, 2, {}, 8)
