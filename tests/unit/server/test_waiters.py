"""Claims and queries that wait: what wakes them, in which order, at which cost, and every end."""

from __future__ import annotations

import pytest

from taskq import commands
from taskq.results import Claimed, Deregistered, TaskState
from tests.unit.server.rig import Peer, Rig, claim, submit, task_id

W1, W2, W3 = (bytes([n]) * 16 for n in (1, 2, 3))


def ids_of(reply: object) -> list[bytes]:
    assert isinstance(reply, Claimed)
    return [task.task_id for task in reply.tasks]


def waiting(
    rig: Rig, worker: bytes, *queues: str, number: int = 1, **fields: int
) -> tuple[Peer, int]:
    peer = rig.peer()
    (request_id,) = peer.send(claim(number, *queues, worker=worker, **fields))
    return peer, request_id


def proposed_claims(rig: Rig) -> int:
    return sum(
        type(command) is commands.ClaimTask for entry in rig.replica.entries for command in entry
    )


def test_a_parked_claim_costs_no_entry_and_one_timer_serves_all() -> None:
    rig = Rig()
    timers = rig.loop.timers
    peers = [waiting(rig, bytes([n]) * 16, wait_ms=5_000 + n)[0] for n in range(1, 101)]
    rounds = rig.loop.rounds
    rig.loop.advance(0.9)
    assert rig.replica.entries == []
    assert rig.loop.timers == timers + 1
    assert rig.loop.rounds == rounds
    assert rig.server.waiting.claims.count == len(peers)


def test_first_come_first_served_and_only_as_many_as_there_are_tasks() -> None:
    rig = Rig()
    workers = [waiting(rig, bytes([n]) * 16) for n in range(1, 6)]
    producer = rig.peer()
    producer.send(submit(1), submit(2))
    answers = [peer.answer(request_id) for peer, request_id in workers]
    assert [ids_of(answer) for answer in answers[:2]] == [[task_id(1)], [task_id(2)]]
    assert answers[2:] == [None, None, None]
    assert proposed_claims(rig) == 2


def test_a_claim_of_ten_is_counted_as_ten() -> None:
    rig = Rig()
    first, second = waiting(rig, W1, max_tasks=10), waiting(rig, W2, max_tasks=10)
    rig.peer().send(*[submit(n) for n in range(1, 11)])
    assert len(ids_of(first[0].answer(first[1]))) == 10
    assert second[0].answer(second[1]) is None
    assert proposed_claims(rig) == 1


def test_a_task_that_is_gone_within_its_entry_wakes_nobody() -> None:
    rig = Rig()
    first, second = waiting(rig, W1), waiting(rig, W2)
    rival = rig.peer()
    _, taken = rival.send(submit(1), claim(wait_ms=0, worker=W3))
    assert ids_of(rival.answer(taken)) == [task_id(1)]
    assert proposed_claims(rig) == 1
    rival.send(submit(2))
    assert ids_of(first[0].answer(first[1])) == [task_id(2)]
    assert second[0].answer(second[1]) is None


def test_losers_are_parked_in_their_order() -> None:
    rig = Rig()
    peers = [waiting(rig, bytes([n]) * 16) for n in range(1, 4)]
    rival = rig.peer()
    # Three tasks become ready, and before the three woken claims a rival takes all of them.
    rig.replica.held = True
    rival.send(submit(1), submit(2), submit(3))
    rig.replica.held = False
    rig.replica._apply()
    rival.session.data_received(
        rival.connection.request(claim(wait_ms=0, worker=b"r" * 16, max_tasks=3))[1]
    )
    # The woken claims were proposed before the rival's: turn the batch round.
    rig.replica._batch.sort(key=lambda proposal: proposal[0].wait_ms)
    rig.loop.settle()
    assert rig.server.waiting.claims.count == 3
    for number, (peer, request_id) in enumerate(peers, 4):
        rival.send(submit(number))
        assert ids_of(peer.answer(request_id)) == [task_id(number)]


def test_the_end_of_the_wait_is_an_empty_answer_without_an_entry() -> None:
    rig = Rig()
    peer, request_id = waiting(rig, W1, max_tasks=500, wait_ms=2_000)
    rig.loop.advance(1.9)
    assert peer.answer(request_id) is None
    rig.loop.advance(0.2)
    assert peer.answer(request_id) == Claimed([], 10)
    assert rig.replica.entries == []


def test_a_deadline_shorter_than_the_wait_ends_it() -> None:
    rig = Rig()
    peer = rig.peer()
    (request_id,) = peer.send(claim(wait_ms=60_000), deadline_ms=1_000)
    rig.loop.advance(1.1)
    assert peer.answer(request_id) == Claimed([], 1)


def test_a_wait_that_ends_while_the_claim_is_proposed_is_answered_once() -> None:
    rig = Rig()
    peer, request_id = waiting(rig, W1, wait_ms=1_000)
    rig.peer().send(submit(1))
    assert ids_of(peer.answer(request_id)) == [task_id(1)]
    rig.replica.held = True
    (second,) = peer.send(claim(2, wait_ms=0, worker=W2), claim(2, wait_ms=1_000, worker=W1))[1:]
    rig.replica.held = False
    rig.loop.advance(2)
    rig.replica._apply()
    assert peer.answer(second) == Claimed([], 1)


def test_a_claim_on_a_closed_connection_is_never_proposed() -> None:
    rig = Rig()
    gone, _ = waiting(rig, W1)
    left = waiting(rig, W2)
    gone.hang_up()
    rig.peer().send(submit(1))
    assert ids_of(left[0].answer(left[1])) == [task_id(1)]
    assert proposed_claims(rig) == 1


def test_a_worker_that_deregisters_takes_nothing_more() -> None:
    """Its parked claim would make it known again, and lease the task to nobody."""
    rig = Rig()
    leaves, stays = waiting(rig, W1), waiting(rig, W2)
    (farewell,) = leaves[0].send(commands.DeregisterWorker(W1))
    rig.peer().send(submit(1))
    assert leaves[0].answer(farewell) == Deregistered(0)
    assert leaves[0].answer(leaves[1]) == Claimed([], 1)
    assert ids_of(stays[0].answer(stays[1])) == [task_id(1)]
    assert proposed_claims(rig) == 1
    assert rig.server.waiting.claims._leaving == {}


def woken(rig: Rig, peer: Peer) -> None:
    """A task becomes ready, and the claim that it wakes is in the log, not yet applied."""
    rig.replica.held = True
    peer.send(submit(1))
    rig.replica.held = False
    rig.replica._apply()
    rig.replica.held = True


def test_what_a_claim_took_before_the_farewell_is_given_back() -> None:
    rig = Rig()
    leaves, claimed = waiting(rig, W1)
    woken(rig, rig.peer())
    (farewell,) = leaves.send(commands.DeregisterWorker(W1))
    rig.replica.release()
    assert ids_of(leaves.answer(claimed)) == [], "it is gone with the entry that gave it"
    assert leaves.answer(farewell) == Deregistered(1)
    assert ids_of(rig.peer().ask(claim(worker=W2))) == [task_id(1)]


@pytest.mark.parametrize("same_entry", [True, False])
def test_a_claim_that_loses_while_its_worker_deregisters_is_not_parked_again(
    same_entry: bool,
) -> None:
    rig = Rig()
    rival = rig.peer()
    leaves, claimed = waiting(rig, W1)
    woken(rig, rival)
    rival.send(claim(wait_ms=0, worker=W3))
    rig.replica._batch.reverse()  # the rival was first
    (farewell,) = leaves.send(commands.DeregisterWorker(W1))
    if not same_entry:
        later = rig.replica._batch.pop()
        rig.replica.release()
        rig.replica.held = True
        rig.replica._batch = [later]
    rival.send(submit(2))
    rig.replica.release()
    assert leaves.answer(farewell) == Deregistered(0)
    assert leaves.answer(claimed) == Claimed([], 1)
    assert ids_of(rival.ask(claim(2, worker=W3))) == [task_id(2)]


def test_a_farewell_that_comes_while_nobody_leads_withdraws_what_waits_with_it() -> None:
    rig = Rig()
    leaves, claimed = waiting(rig, W1)
    rig.replica.lose_leadership()
    (farewell,) = leaves.send(commands.DeregisterWorker(W1))
    rig.replica.lead()
    rig.loop.settle()
    assert leaves.answer(farewell) == Deregistered(0)
    assert leaves.answer(claimed) == Claimed([], 1)


def test_a_farewell_whose_outcome_is_lost_is_not_remembered() -> None:
    """Its worker says it again, or comes back, and then its claims wait as anybody's."""
    rig = Rig()
    leaves, _ = waiting(rig, W1)
    rig.replica.held = True
    first, again = leaves.send(commands.DeregisterWorker(W1), commands.DeregisterWorker(W1))
    rig.replica.lose_leadership()
    assert [leaves.answer(one).unknown for one in (first, again)] == [True, True]
    rig.replica.held = False
    rig.replica.lead()
    rig.loop.settle()
    assert rig.server.waiting.claims._leaving == {}
    (back,) = leaves.send(claim(2, worker=W1))
    assert rig.server.waiting.claims.count == 1
    rig.peer().send(submit(1))
    assert ids_of(leaves.answer(back)) == [task_id(1)]
    assert rig.server.waiting.claims._workers == {}


def test_several_queues_wake_by_any_of_them() -> None:
    rig = Rig()
    both = waiting(rig, W1, "a", "b", "a")
    only = waiting(rig, W2, "b")
    rig.peer().send(submit(1, "b"))
    assert ids_of(both[0].answer(both[1])) == [task_id(1)]
    rig.peer().send(submit(2, "a"), submit(3, "b"))
    assert ids_of(only[0].answer(only[1])) == [task_id(3)]
    assert rig.server.waiting.claims._queues == {}


def test_a_paused_queue_wakes_nobody_until_it_is_resumed() -> None:
    rig = Rig()
    admin = rig.peer()
    admin.send(commands.CreateQueue("q"), commands.PauseQueue("q"))
    peer, request_id = waiting(rig, W1)
    admin.send(submit(1))
    assert peer.answer(request_id) is None
    admin.send(commands.ResumeQueue("q"))
    assert ids_of(peer.answer(request_id)) == [task_id(1)]


def test_a_repeat_of_an_answered_claim_is_never_parked() -> None:
    rig = Rig()
    first = rig.peer()
    first.ask(submit(1))
    answer = first.ask(claim(7, worker=W1))
    first.hang_up()
    assert rig.peer().ask(claim(7, worker=W1)) == answer


def test_a_repeat_that_was_parked_gets_what_the_first_was_granted() -> None:
    rig = Rig()
    first, _ = waiting(rig, W1, number=7)
    second = waiting(rig, W1, number=7)
    rig.peer().send(submit(1))
    del first
    assert ids_of(second[0].answer(second[1])) == [task_id(1)]


def test_a_repeat_that_was_parked_while_the_first_was_in_the_log() -> None:
    rig = Rig()
    rig.peer().ask(submit(1))
    rig.replica.held = True
    first, _ = waiting(rig, W1, number=7)
    first.hang_up()
    second = waiting(rig, W1, number=7)
    rig.replica.release()
    assert ids_of(second[0].answer(second[1])) == [task_id(1)]


def test_a_number_that_the_worker_has_passed_is_answered_empty() -> None:
    """It would be proposed for ever, always empty, in front of everybody else."""
    rig = Rig()
    old = waiting(rig, W1, number=3)
    new = waiting(rig, W1, number=4)
    beat = commands.Heartbeat(W1, [], lowest_unanswered=4)
    rig.peer().send(beat, submit(1))
    assert old[0].answer(old[1]) == Claimed([], 1)
    assert ids_of(new[0].answer(new[1])) == [task_id(1)]
    assert proposed_claims(rig) <= 3


def test_tasks_whose_ttl_ended_do_not_wake_claims_for_ever() -> None:
    rig = Rig()
    producer = rig.peer()
    for start in range(1, 1001, 100):
        producer.send(*[submit(n, ttl_ms=1) for n in range(start, start + 100)])
    rig.replica.skip_ms = 1_000
    peer, request_id = waiting(rig, W1)
    rig.loop.settle()
    assert peer.answer(request_id) is None
    assert proposed_claims(rig) <= 11  # a claim expires at most 100
    producer.send(submit(5000))
    assert ids_of(peer.answer(request_id)) == [task_id(5000)]


def test_loss_of_leadership_holds_what_waits_until_somebody_leads() -> None:
    rig = Rig()
    parked = [waiting(rig, bytes([n]) * 16) for n in range(1, 21)]
    producer = rig.peer()
    producer.ask(submit(1, "other"))
    (query,) = producer.send(commands.QueryStatus(task_id(1), wait_ms=60_000))
    rig.replica.held = True
    (in_flight,) = producer.send(submit(2))
    rig.replica.lose_leadership()
    assert [peer.answer(request_id) for peer, request_id in parked] == [None] * 20
    assert producer.answer(query) is None
    assert producer.answer(in_flight).unknown
    assert (rig.server.waiting.claims.count, rig.server.waiting.queries.count) == (0, 0)
    assert rig.server.forwarding.held_count == 21
    rig.replica.held = False
    rig.loop.advance(5)
    rig.replica.lead()
    rig.loop.settle()
    assert (rig.server.waiting.claims.count, rig.server.waiting.queries.count) == (20, 1)
    assert producer.ask(submit(3)).task_id == task_id(3)
    assert ids_of(parked[0][0].answer(parked[0][1])) == [task_id(3)]
    rig.loop.advance(5)
    assert all(peer.answer(request_id) is not None for peer, request_id in parked)


def test_what_waits_is_refused_at_its_deadline_while_nobody_leads() -> None:
    rig = Rig(idle_secs=1_000)
    parked, parked_id = waiting(rig, W1, wait_ms=2_000)
    producer = rig.peer()
    rig.replica.lose_leadership()
    (short,) = producer.send(submit(1), deadline_ms=700)
    (plain,) = producer.send(submit(2))
    rig.loop.advance(0.6)
    assert producer.answer(short) is None
    rig.loop.advance(0.2)
    refusal = producer.answer(short)
    assert (refusal.code, refusal.unknown) == ("NO_LEADER", False)
    assert "nobody leads" in refusal.message
    rig.loop.advance(30)
    assert producer.answer(plain).code == "NO_LEADER"
    assert parked.answer(parked_id) is None, "its wait counts, too"
    rig.loop.advance(2)
    assert parked.answer(parked_id).code == "NO_LEADER"
    assert rig.server.forwarding.held_count == 0
    assert not rig.server.forwarding._held.queue


def test_claims_that_lost_are_held_when_leadership_goes_with_their_entry() -> None:
    rig = Rig()
    peer, request_id = waiting(rig, W1)
    rig.replica.held = True
    rig.peer().send(submit(1), claim(wait_ms=0, worker=W2))
    rig.replica.release()
    rig.replica.lose_leadership()
    assert peer.answer(request_id) is None
    assert rig.server.forwarding.held_count == 1


def test_claims_that_lost_are_held_when_the_node_breaks_off_within_their_entry() -> None:
    rig = Rig()
    peer, request_id = waiting(rig, W1)
    listeners, rig.replica._listeners = rig.replica._listeners, []
    rig.peer().send(submit(1))
    rig.replica._listeners = listeners
    rig.replica.held = True
    rig.peer().send(claim(wait_ms=0, worker=W2), claim(2, "other", wait_ms=0, worker=W2))
    rig.server.waiting.claims._wake("q")
    rig.replica._listeners = []
    rig.replica.release()
    assert peer.answer(request_id) is None
    assert rig.server.waiting.claims.count == 0, "it lost, and waits to be parked again"
    rig.replica.lose_leadership()
    assert peer.answer(request_id) is None
    assert rig.server.forwarding.held_count == 1


def test_a_chunk_of_thousands_of_claims_is_parked_without_delay() -> None:
    rig = Rig(request_count_max=65_536)
    peer = rig.peer()
    peer.send(*[claim(n, worker=W1) for n in range(1, 3_001)])
    assert rig.server.waiting.claims.count == 3_000
    assert not peer.pipe.paused


def test_waiting_is_bounded() -> None:
    rig = Rig(waiting_count_max=3)
    peers = [waiting(rig, bytes([n]) * 16) for n in range(1, 5)]
    assert peers[3][0].answer(peers[3][1]).code == "TOO_MANY_REQUESTS"
    peers[0][0].hang_up()
    again, request_id = waiting(rig, bytes([9]) * 16)
    assert again.answer(request_id) is None


def test_answered_waits_do_not_pile_up_in_the_clock() -> None:
    rig = Rig()
    producer, worker = rig.peer(), rig.peer()
    for number in range(1, 500):
        worker.send(claim(number, worker=W1, wait_ms=300_000))
        producer.send(submit(number))
    clock = rig.server.waiting._clock
    assert clock.count == 0
    assert len(clock._heap) <= 66


def test_who_does_not_read_its_answers_is_passed_over() -> None:
    rig = Rig(connection_size_max=64 * 1024)
    deaf, _ = waiting(rig, W1)
    deaf.pipe.reads = False
    deaf.send(*[commands.GetStats()] * 200)
    assert deaf.session.is_full()
    reader = waiting(rig, W2)
    rig.peer().send(submit(1))
    assert ids_of(reader[0].answer(reader[1])) == [task_id(1)]


# --- queries --------------------------------------------------------------------------------------


def test_a_query_waits_for_the_end_of_its_task() -> None:
    rig = Rig()
    peer, worker = rig.peer(), rig.peer()
    peer.ask(submit(1))
    (request_id,) = peer.send(commands.QueryStatus(task_id(1), wait_ms=30_000))
    (token,) = [task.token for task in worker.ask(claim()).tasks]
    rig.loop.advance(3)
    assert peer.answer(request_id) is None
    worker.ask(commands.TaskResult(task_id(1), token, True, b"done"))
    view = peer.answer(request_id)
    assert (view.state, view.result) == (TaskState.COMPLETED, b"done")
    assert rig.server.waiting.queries.count == 0


def test_a_query_whose_wait_ends_says_how_things_stand_then() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    (request_id,) = peer.send(commands.QueryStatus(task_id(1), wait_ms=5_000))
    rig.peer().ask(claim())
    rig.loop.advance(5.1)
    assert peer.answer(request_id).state == TaskState.LEASED


@pytest.mark.parametrize("known", [True, False])
def test_a_query_that_has_nothing_to_wait_for_is_answered_at_once(known: bool) -> None:
    rig = Rig()
    peer = rig.peer()
    if known:
        peer.ask(submit(1))
        peer.ask(commands.CancelTask(task_id(1)))
    reply = peer.ask(commands.QueryStatus(task_id(1), wait_ms=30_000))
    assert reply.state == TaskState.CANCELLED if known else reply.code == "NOT_FOUND"


def test_a_query_on_a_closed_connection_is_dropped() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    peer.send(commands.QueryStatus(task_id(1), wait_ms=30_000))
    peer.hang_up()
    assert rig.server.waiting.queries.count == 0
    assert rig.server.waiting._clock.count == 0
