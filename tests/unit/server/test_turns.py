"""Questions in turns: no packet keeps the loop, and nobody waits behind all that one asks."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.server.access import Access
from cluster.server.quota import ROUND_SIZE_MAX
from cluster.server.turns import ROUND_COST
from taskq import commands
from taskq.limits import MIB
from tests.unit.server.rig import Peer, Rig, claim, submit, task_id
from tests.unit.server.test_scope import key_of

QUERY = commands.QueryStatus(task_id(1), stale=True)


def throw(peer: Peer, *asked: Any) -> list[int]:
    """Sends requests in one chunk, and lets nothing else happen yet; their ids."""
    pairs = [peer.connection.request(command) for command in asked]
    peer.session.data_received(b"".join(frame for _, frame in pairs))
    return [request_id for request_id, _ in pairs]


def rounds(rig: Rig) -> list[int]:
    """How many answers there were before the first round of the loop, and in each, to the end."""
    counters = rig.server.counters
    told, before = [sum(counters.answered)], 0
    while rig.loop._ready:
        for _ in range(len(rig.loop._ready)):
            rig.loop._ready.popleft().run()
        told.append(sum(counters.answered))
    counts = []
    for after in told:
        counts.append(after - before)
        before = after
    return counts


def limited() -> Rig:
    keys = [key_of("producer", "mail", "mail.*"), key_of("admin", "root")]
    return Rig(access=Access(enabled=True, keys=keys))


def test_counts_of_a_limited_key_are_one_a_round() -> None:
    rig = limited()
    peer = rig.peer(key="mail")
    peer.ask(submit(1, "mail.x"))
    start = sum(rig.server.counters.answered)
    ids = throw(peer, *[commands.GetStats(stale=True)] * 50)
    counts = rounds(rig)
    assert counts[0] - start <= 1
    assert max(counts[1:]) <= 1
    peer.read()
    assert [peer.answers[one].queues for one in ids] == [1] * 50


@pytest.mark.parametrize("stale", [True, False])
def test_a_packet_of_questions_takes_several_rounds(stale: bool) -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    start = sum(rig.server.counters.answered)
    ids = throw(peer, *[QUERY._replace(stale=stale)] * 1_000)
    counts = rounds(rig)
    counts[0] -= start
    assert sum(counts) == 1_000
    assert max(counts) <= ROUND_COST
    peer.read()
    assert all(one in peer.answers for one in ids)


def test_large_answers_fill_a_round_sooner() -> None:
    rig = Rig()
    peers = [rig.peer() for _ in range(4)]
    peers[0].ask(submit(1))
    (task,) = peers[0].ask(claim(1)).tasks
    peers[0].ask(commands.TaskResult(task.task_id, task.token, True, bytes(MIB)))
    sent = [throw(peer, *[QUERY] * 10) for peer in peers]
    counts = rounds(rig)
    assert max(counts[1:]) <= ROUND_SIZE_MAX // MIB + 1
    for peer, ids in zip(peers, sent, strict=True):
        peer.read()
        assert all(one in peer.answers for one in ids)


def test_nobody_waits_behind_all_that_one_asks() -> None:
    rig = limited()
    peer, other = rig.peer(key="mail"), rig.peer(key="root")
    throw(peer, *[commands.GetStats(stale=True)] * 500)
    (asked,) = throw(other, commands.ListQueues())
    for _ in range(5):
        for _ in range(len(rig.loop._ready)):
            rig.loop._ready.popleft().run()
    other.read()
    assert asked in other.answers


def test_who_has_gone_takes_no_turn() -> None:
    rig = limited()
    gone, other = rig.peer(key="mail"), rig.peer(key="mail")
    throw(gone, *[commands.GetStats(stale=True)] * 500)
    gone.session.connection_lost(None)
    (asked,) = throw(other, commands.GetStats(stale=True))
    before = rig.loop.rounds
    rig.loop.settle()
    other.read()
    assert asked in other.answers
    assert rig.loop.rounds - before < 10
    assert gone.session.in_flight == 0
