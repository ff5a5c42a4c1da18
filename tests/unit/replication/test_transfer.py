"""A7: leadership is handed over, under load, too; what was held is proposed once, here or there."""

from __future__ import annotations

import pytest

from cluster.replication.messages import PreVote, TimeoutNow
from cluster.replication.raft_state import FOLLOWER, LEADER
from cluster.storage.errors import StorageFailed
from taskq.errors import ErrorCode, Refusal
from tests.unit.replication.group_rig import Group, refusals

Answers = list[Refusal | None]


def begin(group: Group, target: str = "n2") -> Answers:
    """n1, which leads, hands over; what the caller hears."""
    heard: Answers = []
    group["n1"].driver.transfer(target, heard.append)
    group.loop.settle()
    return heard


@pytest.fixture
def led(group: Group) -> Group:
    """n1 leads three nodes at rest."""
    group.elect("n1")
    group.tick(0.5, steps=5)
    return group


def orders(group: Group, target: str = "n2") -> list[TimeoutNow]:
    """What the target was told, ever."""
    return [m for a, b, m in group.told if b == target and isinstance(m, TimeoutNow)]


def test_the_target_leads_and_no_time_passes(led: Group) -> None:
    term = led["n1"].raft.term
    heard = begin(led)
    led.flow()
    assert heard == [None]
    assert led.leaders() == ["n2"]
    assert led["n2"].raft.term == term + 1
    assert not [m for _, _, m in led.told if isinstance(m, PreVote) and m.term >= term]


def test_without_a_target_whoever_has_most_leads(led: Group) -> None:
    led.hold("n1", "n3")
    led.submit("n1", [1, 2])
    heard = begin(led, "")
    led.flow()
    assert heard == [None]
    assert led.leaders() == ["n2"]


def test_everything_is_held_until_the_target_leads_and_goes_there(led: Group) -> None:
    """The target lacks an entry, so that the hand-over takes a moment."""
    led.hold("n1", "n2")
    led.submit("n1", [1])
    heard = begin(led)
    last = led["n1"].raft.last_index
    led.submit("n1", [2, 3])
    assert led["n1"].raft.last_index == last, "held"
    assert not {2, 3} & set(led["n1"].answers)
    assert not orders(led), "it has not got everything"
    led.let_go("n1", "n2")
    led.flow()
    assert heard == [None]
    assert led.leaders() == ["n2"]
    for tag in (2, 3):
        assert not refusals(led["n1"])[tag].unknown, "certainly not proposed: it may go there"
    assert led["n1"].accepted() == {1}
    led.submit("n2", [4])
    assert 4 in led["n2"].accepted()


def test_the_target_is_told_only_when_the_own_disk_and_a_majority_have_everything(
    led: Group,
) -> None:
    led.slow.add("n1")
    led["n1"].submit(1)
    led.flow()
    begin(led)
    led.flow()
    assert not orders(led), "the own disk has not got the last entry"
    led["n1"].log.finish()
    led.flow()
    assert orders(led)
    assert 1 in led["n1"].accepted(), "answered before the other takes over"


def test_a_time_out_gives_up_and_proposes_what_was_held(led: Group) -> None:
    led.hold("n1", "n2")
    led.submit("n1", [1])
    heard = begin(led)
    led.submit("n1", [2])
    for _ in range(11):
        led.tick(0.1)
    (refusal,) = heard
    assert refusal is not None
    assert refusal.code == ErrorCode.UNAVAILABLE.value
    assert led["n1"].raft.is_leader
    assert led["n1"].accepted() == {1, 2}
    led.submit("n1", [3])
    assert 3 in led["n1"].accepted()


def test_an_order_that_comes_after_new_entries_deposes_nobody(led: Group) -> None:
    led.hold("n1", "n2")
    heard = begin(led)
    led.flow()
    (order,) = orders(led)
    led.drop("n1", "n2")
    for _ in range(11):
        led.tick(0.1)
        led["n1"].consensus.leading.peers["n2"].heard_at = led.loop.now  # type: ignore[union-attr]
    assert heard[0] is not None
    led.cut("n1", "n2")
    led.connect("n1", "n2")
    led.let_go("n1", "n2")
    led.submit("n1", [1])
    led.tick(0.5, steps=5)
    term = led["n1"].raft.term
    led.say("n1", "n2", order)
    led.flow()
    assert led["n2"].raft.role == FOLLOWER
    assert led["n1"].raft.role == LEADER
    assert led["n1"].raft.term == term


@pytest.mark.parametrize(
    ("one", "change"),
    [("n3", (0, 0, 0)), ("n1", (-1, 0, 0)), ("n1", (0, 0, 1)), ("n1", (0, 0, -1))],
    ids=["not from the leader", "of a lower term", "a longer log", "a shorter log"],
)
def test_an_order_that_does_not_fit_is_ignored(
    led: Group, one: str, change: tuple[int, int, int]
) -> None:
    term, last = led["n2"].raft.term, led["n2"].raft.last_index
    led.say(one, "n2", TimeoutNow(term + change[0], 0, last + change[2]))
    led.flow()
    assert led["n2"].raft.role == FOLLOWER
    assert led.leaders() == ["n1"]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("n1", ErrorCode.WRONG_STATE),
        ("n9", ErrorCode.NOT_FOUND),
        ("n3", ErrorCode.WRONG_STATE),
    ],
    ids=["itself", "a stranger", "a node that cannot be reached"],
)
def test_who_cannot_take_over(led: Group, target: str, code: ErrorCode) -> None:
    led.crash("n3")
    (refusal,) = begin(led, target)
    assert refusal is not None
    assert refusal.code == code.value
    led.submit("n1", [1])
    assert 1 in led["n1"].accepted(), "nothing is held"


def test_a_node_without_log_takes_nothing_over(led: Group) -> None:
    leading = led["n1"].consensus.leading
    assert leading is not None
    leading.peers["n2"].loss = 7
    (refusal,) = begin(led)
    assert refusal is not None
    assert "does not vote" in refusal.message


def test_one_transfer_at_a_time(led: Group) -> None:
    led.hold("n1", "n2")
    led.submit("n1", [1])
    first = begin(led)
    (second,) = begin(led, "n3")
    assert second is not None
    assert not first
    led.let_go("n1", "n2")
    led.flow()
    assert first == [None]


def test_a_follower_hands_nothing_over(led: Group) -> None:
    heard: Answers = []
    led["n2"].driver.transfer("n3", heard.append)
    assert heard[0] is not None


def test_a_leader_that_steps_down_for_want_of_a_majority_handed_nothing_over(led: Group) -> None:
    led.isolate("n1")
    led["n1"].submit(1)
    led.tick(0.9, steps=9)
    heard = begin(led)
    led.tick(0.8, steps=8)
    assert led["n1"].raft.role == FOLLOWER
    (refusal,) = heard
    assert refusal is not None


def test_a_leader_whose_disk_fails_handed_nothing_over(led: Group) -> None:
    led.slow.add("n1")
    led.doomed.add("n1")
    led["n1"].submit(1)
    led.flow()
    heard = begin(led)
    led["n1"].log.fail(written=False)
    (refusal,) = heard
    assert refusal is not None
    assert [type(error) for error in led["n1"].failures] == [StorageFailed]


def test_under_load_no_proposal_is_lost_or_made_twice(led: Group) -> None:
    """Every round brings a proposal; what the old leader refuses goes to the new one."""
    refused: list[int] = []
    heard: Answers = []
    for tag in range(1, 61):
        node = led[led["n3"].driver.leader or "n1"]
        node.submit(tag)
        led.step()
        if tag == 20:
            led["n1"].driver.transfer("n2", heard.append)
    led.flow()
    led.tick(0.3)
    assert heard == [None]
    for node in led.nodes.values():
        refused += refusals(node)
        assert not any(one.unknown for one in refusals(node).values())
    led.submit("n2", sorted(set(refused)))
    led.tick(0.5, steps=5)
    for one in led.ids:
        stored = [tag for tag in led.stored(one) if tag is not None]
        assert sorted(stored) == list(range(1, 61))


def test_success_is_told_when_the_new_leader_is_heard(led: Group) -> None:
    """A higher term alone says that this node leads no more, and not that anybody does."""
    led.hold("n2", "n1")
    led.hold("n2", "n3")
    heard = begin(led)
    led.flow()
    while led["n1"].raft.role == LEADER:
        led.deliver("n2", "n1")
    led.flow()
    assert led["n1"].raft.leader == ""
    assert not heard
    led.let_go("n2", "n1")
    led.let_go("n2", "n3")
    led.flow()
    assert led.leaders() == ["n2"]
    assert heard == [None]


def test_nobody_took_over_in_time(led: Group) -> None:
    """The target stood for election and fell silent."""
    led.hold("n2", "n1")
    led.hold("n2", "n3")
    heard = begin(led)
    led.flow()
    while led["n1"].raft.role == LEADER:
        led.deliver("n2", "n1")
    led.isolate("n1")
    led.tick(0.9, steps=9)
    assert not heard
    led.tick(0.2, steps=2)
    (refusal,) = heard
    assert refusal is not None
    assert refusal.code == ErrorCode.UNAVAILABLE.value
    led.tick(3.0, steps=30)
    assert len(heard) == 1, "answered once"


def test_whoever_leads_again_handed_nothing_over(led: Group) -> None:
    led.hold("n2", "n1")
    led.hold("n2", "n3")
    heard = begin(led)
    led.flow()
    while led["n1"].raft.role == LEADER:
        led.deliver("n2", "n1")
    led.isolate("n2")
    led.stands("n1")
    led.flow()
    assert led["n1"].raft.is_leader
    (refusal,) = heard
    assert refusal is not None
    assert "leads again" in refusal.message
    led.submit("n1", [1])
    assert 1 in led["n1"].accepted(), "nothing is held"


def test_a_lost_order_is_given_again(led: Group) -> None:
    """The link broke with the order on it, and was there again at once."""
    led.hold("n1", "n2")
    heard = begin(led)
    led.flow()
    assert len(orders(led)) == 1
    led.cut("n1", "n2")
    led.connect("n1", "n2")
    led.let_go("n1", "n2")
    led.tick(0.1, steps=4)
    assert heard == [None]
    assert led.leaders() == ["n2"]


def test_an_order_that_comes_twice_makes_one_election(led: Group) -> None:
    """The first one is late; the second finds a candidate that waits for its disk."""
    led.hold("n1", "n2")
    led.slow.add("n2")
    heard = begin(led)
    led.tick(0.3, steps=12)
    count, elections = len(orders(led)), led["n2"].consensus.elections.count
    assert 3 <= count <= 12, "now and then"
    led.let_go("n1", "n2")
    led.flow()
    led.slow.discard("n2")
    led.flow()
    assert led["n2"].consensus.elections.count == elections + 1
    assert led.leaders() == ["n2"]
    assert heard == [None]
