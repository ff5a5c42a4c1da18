"""Requests to a node that does not lead: where they go, what comes back, and when nobody leads."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.server import forward_stream, forwarding, remote_session
from cluster.server.forward_letters import Answers, Requests, pack_reset, read_letter
from cluster.server.node_metrics import NodeMetrics
from taskq import commands
from taskq.errors import ErrorCode, ProtocolError, Refusal, refuse
from taskq.protocol.codec import Request, decode_request, encode_request
from taskq.results import BatchReply, Claimed, Deregistered, Submitted, TaskState, TaskView
from tests.unit.server.group import Group
from tests.unit.server.rig import Peer, claim, submit, task_id

W1, W2 = (bytes([n]) * 16 for n in (1, 2))


def led_by(leader: str = "n1", **how: Any) -> Group:
    group = Group(**how)
    group.elect(leader)
    group.settle()
    return group


def ask(group: Group, peer: Peer, command: Any, **how: Any) -> Any:
    (request_id,) = peer.send(command, **how)
    group.settle()
    return peer.answer(request_id)


def requests_to(group: Group, node: str) -> list[Requests]:
    letters = [read_letter(message) for _, to, message in group.messages if to == node]
    return [letter for letter in letters if isinstance(letter, Requests)]


# --- the way there and back -----------------------------------------------------------------------


def test_a_follower_passes_commands_and_reads_on_and_the_answers_back() -> None:
    group = led_by()
    peer = group["n2"].peer()
    assert ask(group, peer, submit(1, payload=b"p" * 300)) == Submitted(task_id(1))
    (task,) = ask(group, peer, claim()).tasks
    assert (task.task_id, task.payload) == (task_id(1), b"p" * 300)
    view = ask(group, peer, commands.QueryStatus(task_id(1)))
    assert isinstance(view, TaskView)
    assert view.state == TaskState.LEASED
    refusal = ask(group, peer, commands.CancelTask(task_id(9)))
    assert refusal.code == "NOT_FOUND"
    batch = ask(group, peer, commands.SubmitTasks([list(submit(n)) for n in (5, 6)]))
    assert isinstance(batch, BatchReply)
    assert ask(group, peer, commands.SubmitTask(None, "q")).task_id
    assert group["n2"].server.counters.answered[0x10] == 2
    assert group["n1"].server.counters.answered[0x10] == 0, "counted where the client is"
    assert group["n2"].server.counters.forwarded == 6
    assert group["n2"].server.sessions.size == 0
    assert group["n1"].server.sessions.size < 100, "the last answer, which is not confirmed yet"


@pytest.mark.parametrize("first", [2, 0x7F, 0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 63) - 40])
def test_request_ids_of_any_length_come_back(first: int) -> None:
    group = led_by()
    peer = group["n2"].peer()
    peer.connection._last_request_id = first - 1
    ids = peer.send(*[submit(n) for n in range(1, 21)])
    group.settle()
    assert [peer.answer(one) for one in ids] == [Submitted(task_id(n)) for n in range(1, 21)]


def test_requests_of_one_round_are_one_message_and_so_are_their_answers() -> None:
    group = led_by()
    peers = [group["n2"].peer() for _ in range(5)]
    group.messages.clear()
    for number, peer in enumerate(peers):
        frames = [peer.connection.request(submit(number * 10 + n))[1] for n in range(10)]
        peer.session.data_received(b"".join(frames))
    group.settle()
    kinds = [type(read_letter(message)) for _, _, message in group.messages]
    assert kinds == [Requests, Answers]
    assert len(group.log) == 1


def test_a_stale_read_is_answered_where_it_is_asked() -> None:
    group = led_by()
    peer = group["n2"].peer()
    ask(group, peer, submit(1))
    group.messages.clear()
    assert ask(group, peer, commands.QueryStatus(task_id(1), stale=True)).task_id == task_id(1)
    assert group.messages == []


def test_what_is_left_of_wait_and_deadline_travels_not_a_time() -> None:
    group = led_by()
    group.tell("")
    peer = group["n2"].peer()
    peer.send(claim(wait_ms=5_000), deadline_ms=20_000)
    group.settle(2.0)
    group.tell("n1")
    group.settle()
    (letter,) = requests_to(group, "n1")
    ((kind, payload),) = letter.frames
    request = decode_request(kind, payload)
    assert isinstance(request, Request)
    assert request.command.wait_ms == pytest.approx(3_000, abs=20)
    assert request.deadline_ms == pytest.approx(18_000, abs=20)


def test_roles_are_checked_where_the_client_is_and_growth_where_the_leader_is() -> None:
    group = led_by()
    group.replica("n1").full = refuse(ErrorCode.DISK_FULL, "the disk is nearly full", 1_000)
    peer = group["n2"].peer()
    assert ask(group, peer, submit(1)).code == "DISK_FULL"
    assert group.carried_out(commands.SubmitTask) == []


# --- waiting --------------------------------------------------------------------------------------


def test_a_claim_waits_at_the_leader_and_wakes_there() -> None:
    group = led_by()
    worker, producer = group["n2"].peer(), group["n3"].peer()
    (claimed,) = worker.send(claim(worker=W1))
    group.settle()
    assert group["n1"].server.waiting.claims.count == 1
    assert ask(group, producer, submit(1)) == Submitted(task_id(1))
    group.settle()
    assert [task.task_id for task in worker.answer(claimed).tasks] == [task_id(1)]


def test_a_claim_of_a_client_that_left_is_dropped_before_it_is_proposed() -> None:
    group = led_by()
    gone, stays = group["n2"].peer(), group["n2"].peer()
    gone.send(claim(worker=W1))
    (claimed,) = stays.send(claim(worker=W2))
    group.settle()
    gone.hang_up()
    group.settle()
    assert group["n1"].server.waiting.claims.count == 1
    ask(group, group["n1"].peer(), submit(1))
    group.settle()
    assert len(stays.answer(claimed).tasks) == 1
    assert [one.worker_id for one in group.carried_out(commands.ClaimTask)] == [W2]


def test_a_claim_that_lost_the_race_after_its_client_left_is_not_parked_again() -> None:
    group = led_by()
    gone = group["n2"].peer()
    gone.send(claim(worker=W1))
    group.settle()
    leader = group.replica("n1")
    leader.held = True
    group["n1"].peer().send(submit(1), claim(worker=W2, wait_ms=0))
    leader.held = False
    leader._apply()  # wakes the parked claim, which is proposed
    leader.held = True
    gone.hang_up()
    group.settle()
    leader.release()
    group.settle()
    assert group["n1"].server.waiting.claims.count == 0
    assert all(s.in_flight == 0 for s in group["n1"].server.remotes.all())


def test_a_worker_that_deregisters_through_a_follower_takes_nothing_more() -> None:
    group = led_by()
    leaves = group["n2"].peer()
    (claimed,) = leaves.send(claim(worker=W1))
    group.settle()
    assert ask(group, leaves, commands.DeregisterWorker(W1)) == Deregistered(0)
    assert leaves.answer(claimed) == Claimed([], 1)
    ask(group, group["n3"].peer(), submit(1))
    assert group.carried_out(commands.ClaimTask) == []


def test_parked_claims_and_queries_move_when_leadership_does() -> None:
    group = led_by()
    peers = {name: group[name].peer() for name in ("n1", "n2", "n3")}
    ask(group, peers["n1"], submit(50, "other"))
    claims = {name: peer.send(claim(worker=name.encode() * 8))[0] for name, peer in peers.items()}
    queries = {
        name: peer.send(commands.QueryStatus(task_id(50), wait_ms=8_000))[0]
        for name, peer in peers.items()
    }
    group.settle()
    group.elect("n2")
    group.settle()
    assert group["n2"].server.waiting.claims.count == 3
    assert group["n2"].server.waiting.queries.count == 3
    assert group["n1"].server.waiting.claims.count == 0
    for number in (1, 2, 3):
        assert ask(group, peers["n1"], submit(number)) == Submitted(task_id(number))
    ask(group, peers["n3"], commands.CancelTask(task_id(50)))
    group.settle()
    for name, peer in peers.items():
        assert len(peer.answer(claims[name]).tasks) == 1
        assert peer.answer(queries[name]).state == TaskState.CANCELLED


def test_a_wanted_cancellation_is_pushed_by_the_node_to_which_the_worker_is_connected() -> None:
    group = led_by()
    worker, producer = group["n2"].peer(), group["n3"].peer()
    ask(group, producer, submit(1))
    (task,) = ask(group, worker, claim()).tasks
    assert len(group["n1"].server.links) == 0, "its connection is not here"
    assert ask(group, producer, commands.CancelTask(task_id(1))).requested
    group.settle()
    worker.read()
    assert worker.pushes == [commands.CancelRequested(task_id(1), task.token)]


# --- nobody leads, or another ---------------------------------------------------------------------


def test_without_a_leader_requests_wait_and_go_on_at_once() -> None:
    group = led_by()
    peer = group["n2"].peer()
    group.replica("n1").step_down()
    group.tell("")
    ids = peer.send(submit(1), commands.GetStats(), claim(wait_ms=0))
    group.settle(1.0)
    assert [peer.answer(one) for one in ids] == [None] * 3
    group.elect("n3")
    start = group.loop.now
    while peer.answer(ids[0]) is None:
        group.loop.advance(0.0001)
    assert group.loop.now - start < 0.001
    assert None not in [peer.answer(one) for one in ids]


def test_a_node_that_becomes_the_leader_carries_out_what_it_held() -> None:
    group = led_by()
    peer = group["n2"].peer()
    group.replica("n1").step_down()
    group.tell("")
    ids = peer.send(*[submit(n) for n in range(1, 2_501)][:1000])
    group.elect("n2")
    group.settle()
    assert [peer.answer(one) for one in ids] == [Submitted(task_id(n)) for n in range(1, 1_001)]


def test_what_the_leader_did_not_carry_out_goes_to_the_next_one() -> None:
    group = led_by()
    leader, far = group["n1"].peer(), group["n2"].peer()
    group.replica("n1").held = True
    (here,), (there,) = leader.send(submit(1)), far.send(submit(2))
    group.settle()
    group.replica("n1").step_down()
    group.settle()
    assert (leader.answer(here), far.answer(there)) == (None, None)
    group.elect("n3")
    group.settle()
    assert leader.answer(here) == Submitted(task_id(1))
    assert far.answer(there) == Submitted(task_id(2))
    assert len(group.carried_out(commands.SubmitTask)) == 2


def test_what_may_have_been_carried_out_is_not_sent_again() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.replica("n1").held = True
    (there,) = far.send(submit(2))
    group.settle()
    group.replica("n1").step_down(committed=True)
    group.elect("n3")
    group.settle()
    assert far.answer(there).unknown
    assert len(group.carried_out(commands.SubmitTask)) == 1


def test_a_lost_connection_makes_commands_unknown_at_once_and_asks_questions_again() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.replica("n1").held = True
    command, question = far.send(submit(1), commands.QueryStatus(task_id(7), wait_ms=9_000))
    group.loop.advance(0.00005)
    group.cut("n1", "n2")
    answer = far.answer(command)
    assert (answer.unknown, answer.retry_after_ms) == (True, 0)
    group.replica("n1").release()
    group.settle()
    assert far.answer(question).code == "NOT_FOUND"
    assert group.carried_out(commands.SubmitTask) == [], "the message never arrived"


def test_answers_of_before_a_lost_connection_are_not_taken_for_those_of_after() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.replica("n1").held = True
    (first,) = far.send(submit(1))
    group.settle()
    group.cut("n1", "n2")
    (second,) = far.send(submit(2))
    group.settle()
    group.replica("n1").release()
    group.settle()
    assert far.answer(first).unknown
    assert far.answer(second) == Submitted(task_id(2))


def test_a_silent_former_leader_is_not_waited_for() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.replica("n1").held = True  # paused: says nothing, loses no connection
    (there,) = far.send(submit(1))
    group.settle()
    group.replica("n3").lead()
    group.tell("n3", "n2", "n3")
    group.loop.advance(forwarding.FAREWELL_SECS / 2)
    assert far.answer(there) is None
    group.loop.advance(forwarding.FAREWELL_SECS)
    assert far.answer(there).unknown
    assert ask(group, far, submit(2)) == Submitted(task_id(2))


def test_a_leader_that_says_nothing_is_not_waited_for_after_the_deadline() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.replica("n1").held = True
    (there,) = far.send(submit(1), deadline_ms=2_000)
    group.settle(1.9)
    assert far.answer(there) is None
    group.settle(3.0)
    assert far.answer(there).unknown
    assert far.session.forwarded == set()


def test_an_elected_node_keeps_what_comes_before_it_can_serve() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.replica("n1").step_down()
    group.tell("")
    (there,) = far.send(submit(1))
    group.tell("n3")  # the others hear of it before its first entry is committed
    group.settle(0.02)
    assert len(requests_to(group, "n3")) == 1
    group.replica("n3").lead()
    group.settle(0.001)
    assert far.answer(there) == Submitted(task_id(1))
    assert len(requests_to(group, "n3")) == 1, "neither refused nor sent again"


def test_a_request_to_a_node_that_knows_a_better_one_goes_there() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.elect("n3", tell=False)
    group.tell("n3", "n1", "n3")
    (there,) = far.send(submit(1))
    group.settle(0.05)
    assert far.answer(there) is None
    count = len(requests_to(group, "n1"))
    assert 2 <= count <= 12, "asked again, in no hurry"
    group.tell("n3", "n2")
    group.settle(0.001)
    assert far.answer(there) == Submitted(task_id(1))


def test_a_leader_that_cannot_be_reached_is_reached_later() -> None:
    group = led_by()
    far = group["n2"].peer()
    group.cut("n1", "n2", back=False)
    (there,) = far.send(submit(1))
    group.settle(3)
    assert far.answer(there) is None
    group.mend()
    group.settle(0.1)
    assert far.answer(there) == Submitted(task_id(1))


def test_the_status_is_the_leaders_unless_a_stale_one_will_do() -> None:
    group = led_by()
    peer = group["n2"].peer()
    assert ask(group, peer, commands.GetCluster()).node_id == "n1"
    assert ask(group, peer, commands.GetCluster(stale=True)).node_id == "n2"
    group.replica("n1").step_down()
    group.tell("")
    status = ask(group, peer, commands.GetCluster(stale=True))
    assert (status.node_id, status.leader) == ("n2", "")
    (asked,) = peer.send(commands.GetCluster(), deadline_ms=500)
    group.settle(0.6)
    assert peer.answer(asked).code == "NO_LEADER"


@pytest.mark.parametrize("asked", ["n1", "n3"])
def test_leadership_is_handed_over_from_any_node_and_nothing_fails(asked: str) -> None:
    group = led_by()
    peer, worker = group[asked].peer(), group["n2"].peer()
    (claimed,) = worker.send(claim())
    group.settle()
    transfer, submitted = peer.send(commands.TransferLeadership("n2"), submit(1))
    group.settle(0.1)
    assert peer.answer(transfer).leader == "n2"
    assert peer.answer(submitted) == Submitted(task_id(1))
    assert len(worker.answer(claimed).tasks) == 1
    assert ask(group, peer, commands.TransferLeadership("n2")).leader == "n2", "it leads already"
    assert ask(group, peer, commands.TransferLeadership("n9")).code == "NOT_FOUND"


# --- bounds ---------------------------------------------------------------------------------------


def test_large_frames_go_alone_and_small_ones_in_messages_of_a_mebibyte() -> None:
    group = led_by(node_size_max=1 << 30)
    peer = group["n2"].peer()
    ids = peer.send(*[submit(n, payload=bytes(300_000)) for n in range(1, 21)])
    (big,) = peer.send(submit(99, payload=bytes(1_000_000)))
    group.settle()
    assert all(isinstance(peer.answer(one), Submitted) for one in [*ids, big])
    sizes = [len(message) for _, to, message in group.messages if to == "n1"]
    assert max(sizes) < 1_100_000
    assert len(sizes) <= 9


def test_a_request_that_does_not_fit_a_frame_once_it_has_an_id_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = led_by()
    group.tell("")
    peer = group["n2"].peer()
    ids = peer.send(submit(1, payload=bytes(5_000)), submit(2))
    group.settle()

    def packed(pack: Any, command: Any, number: int, deadline_ms: int) -> bytes:
        if len(command.payload) > 1_000:
            raise ProtocolError("a frame holds at most 1000 bytes")
        return encode_request(pack, command, number, deadline_ms)

    monkeypatch.setattr(forward_stream, "encode_request", packed)
    group.tell("n1")
    group.settle()
    assert [type(peer.answer(one)) for one in ids] == [Refusal, Submitted]
    assert peer.answer(ids[0]).code == "PAYLOAD_TOO_LARGE"
    assert group["n2"].server.forwarding.held_count == 0


def test_what_is_under_way_is_bounded_by_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_stream, "WINDOW_SIZE", 500_000)
    group = led_by()
    peer = group["n2"].peer()
    group.replica("n1").held = True
    ids = peer.send(*[submit(n, payload=bytes(100_000)) for n in range(1, 41)])
    (parked,) = peer.send(claim(1, "other"))
    group.settle()
    assert len(group.replica("n1")._batch) <= 6
    group.replica("n1").release()
    group.settle()
    assert all(isinstance(peer.answer(one), Submitted) for one in ids)
    assert peer.answer(parked) is None
    assert group["n1"].server.waiting.claims.count == 1


def test_answers_stop_where_the_other_node_does_not_hand_them_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_session, "ANSWER_WINDOW_SIZE", 500_000)
    monkeypatch.setattr(forward_stream, "CONFIRM_SIZE", 100_000)
    group = led_by(node_size_max=2_000_000, connection_size_max=1_000_000)
    producer, reader = group["n1"].peer(), group["n2"].peer()
    ask(group, producer, submit(1, payload=b""))
    (task,) = ask(group, producer, claim()).tasks
    ask(group, producer, commands.TaskResult(task_id(1), task.token, True, b"r" * 100_000))
    reader.pipe.reads = False
    others = [group["n2"].peer() for _ in range(5)]
    for peer in others:
        peer.pipe.reads = False
    asked = [(p, i) for p in others for i in p.send(*[commands.QueryStatus(task_id(1))] * 40)]
    group.settle(0.5)
    held = sum(peer.pipe.unread for peer in others)
    assert held < 3_500_000, "200 answers are 20 MB"
    assert group["n1"].server.sessions.size < 3_000_000
    for _ in range(200):
        for peer in others:
            peer.pipe.drain()
        group.settle(0.02)
    left = [i for p, i in asked if p.answer(i) is None]
    assert left == []


def test_as_many_requests_wait_for_a_leader_as_the_node_can_hold() -> None:
    group = led_by(waiting_count_max=10)
    group.replica("n1").step_down()
    group.tell("")
    peer = group["n2"].peer()
    first = peer.send(*[submit(n) for n in range(1, 11)])
    group.settle()
    refusal = ask(group, peer, submit(11))
    assert (refusal.code, refusal.unknown) == ("TOO_MANY_REQUESTS", False)
    assert refusal.retry_after_ms > 0
    group.elect("n3")
    group.settle()
    assert all(isinstance(peer.answer(one), Submitted) for one in first)


def test_a_connection_that_takes_nothing_is_tried_again_with_pauses() -> None:
    group = led_by()
    peer = group["n2"].peer()
    group.full.add(("n2", "n1"))
    (one,) = peer.send(submit(1))
    rounds = group.loop.rounds
    group.settle(1.0)
    assert group.loop.rounds - rounds < 60
    group.mend()
    group.settle(0.1)
    assert peer.answer(one) == Submitted(task_id(1))


def test_answers_that_a_connection_does_not_take_are_sent_later() -> None:
    group = led_by()
    peer = group["n2"].peer()
    group.full.add(("n1", "n2"))
    ids = peer.send(*[submit(n) for n in range(1, 11)])
    group.settle(0.5)
    assert [peer.answer(one) for one in ids] == [None] * 10
    group.mend()
    group.settle(0.1)
    assert all(isinstance(peer.answer(one), Submitted) for one in ids)


def test_claims_of_one_node_leave_room_for_its_other_requests() -> None:
    group = led_by(node_size_max=400_000, connection_size_max=100_000_000)
    peers = [group["n2"].peer() for _ in range(10)]
    refused = 0
    for number, peer in enumerate(peers):
        claims = [claim(n, worker=bytes([number + 1]) * 16) for n in range(1, 11)]
        ids = peer.send(*claims)
        group.settle()
        answers = [peer.answer(one) for one in ids]
        refused += sum(isinstance(a, Refusal) and a.code == "TOO_MANY_REQUESTS" for a in answers)
    assert refused
    assert isinstance(ask(group, group["n2"].peer(), submit(1)), Submitted)


def test_garbage_from_another_node_ends_the_stream_not_the_node() -> None:
    group = led_by()
    peer = group["n2"].peer()
    group.replica("n1").held = True
    (one,) = peer.send(submit(1))
    group.settle()
    for message in (b"", b"\x01", b"\x02" + bytes(8) + b"\xff" * 20, b"\x09" * 30):
        group.replica("n2").on_message("n1", message)
        group.replica("n1").on_message("n2", message)
    assert peer.answer(one).unknown
    group.replica("n1").release()
    assert ask(group, peer, submit(2)) == Submitted(task_id(2))


def test_a_node_that_is_no_member_passes_nothing_on() -> None:
    group = led_by()
    peer = group["n2"].peer()
    (waiting,) = peer.send(claim(1, wait_ms=60_000))
    group.settle()
    before = len(group.log)
    group.guests.add("n2")
    (one,) = peer.send(submit(1))
    group.settle()
    assert peer.answer(one).unknown, "it hears that nobody listens"
    assert len(group.log) == before, "nothing was carried out"
    assert not group["n1"].server.remotes.all(), "what it passed on before is over"
    assert peer.answer(waiting).unknown


def test_a_leader_that_gives_up_every_stream_is_not_asked_in_circles() -> None:
    group = led_by(delay=0.0)
    peer = group["n2"].peer()
    leader = group.replica("n1")

    def reset(peer_id: str, message: bytes) -> None:
        letter = read_letter(message)
        assert isinstance(letter, Requests)
        leader.send(peer_id, pack_reset(letter.stream))

    understood, leader.on_message = leader.on_message, reset
    question, command = peer.send(commands.GetStats(), submit(1))
    group.settle(1.0)
    assert peer.answer(command).unknown
    assert peer.answer(question) is None
    assert len(requests_to(group, "n1")) < 40
    leader.on_message = understood
    group.settle(0.1)
    assert peer.answer(question).leader == "n1"


def test_a_request_type_that_the_leader_does_not_know_is_refused_by_it() -> None:
    group = led_by()
    peer = group["n2"].peer()
    group.messages.clear()
    group["n1"].server.remotes._take("n2", Requests(5, 0, (), [(0x5E, b"\x94\x01\x07\x00\x90")]))
    group.settle()
    ((_, _, message),) = group.messages
    letter = read_letter(message)
    assert isinstance(letter, Answers)
    assert b"UNKNOWN_MESSAGE" in letter.frames[0][1]
    assert ask(group, peer, submit(2)) == Submitted(task_id(2))


# --- the end --------------------------------------------------------------------------------------


def test_a_stopping_follower_leaves_nothing_unanswered() -> None:
    group = led_by()
    peer = group["n2"].peer()
    ask(group, peer, submit(7, "other"))
    (parked,) = peer.send(claim())
    (question,) = peer.send(commands.QueryStatus(task_id(7), wait_ms=5_000))
    group.settle()
    group.cut("n1", "n2", back=False)
    (held,) = peer.send(submit(1))
    assert peer.answer(parked).unknown
    group["n2"].server.forwarding.refuse_all()
    assert peer.answer(held).code == "UNAVAILABLE"
    assert peer.answer(question).code == "UNAVAILABLE"
    assert group["n2"].server.forwarding.under_way_count == 0


def test_a_stopping_follower_gives_up_claims_that_wait_at_the_leader() -> None:
    group = led_by()
    peer = group["n2"].peer()
    (parked,) = peer.send(claim())
    group.settle()
    group["n2"].server.forwarding.refuse_all()
    group.settle()
    assert peer.answer(parked).unknown, "it may have been granted something just now"
    assert group["n1"].server.waiting.claims.count == 0
    assert isinstance(ask(group, peer, submit(1)), Refusal)


def test_a_stopping_leader_takes_nothing_more_and_the_next_one_carries_it_out() -> None:
    group = led_by()
    peer = group["n2"].peer()
    (parked,) = peer.send(claim())
    group.settle()
    group["n1"].server.sessions.stop()
    (late,) = peer.send(submit(1))
    group.settle(0.2)
    assert peer.answer(late) is None
    assert group.log == []
    group.elect("n3")
    group.settle()
    assert peer.answer(late) == Submitted(task_id(1))
    assert len(peer.answer(parked).tasks) == 1


def test_metrics_count_what_is_passed_on_held_and_lost() -> None:
    group = led_by()
    peer = group["n2"].peer()
    ask(group, peer, submit(1))
    peer.send(claim(1, "none"))
    group.settle()
    assert sample(group, "n2", "tq_forwarded_open") == 1
    group.cut("n1", "n2", back=False)
    peer.send(submit(2), submit(3))
    group.settle()
    assert sample(group, "n2", "tq_forwarded_total") == 2
    assert sample(group, "n2", "tq_forwarded_lost_total") == 1
    assert sample(group, "n2", "tq_held_requests") == 2


def sample(group: Group, node: str, name: str) -> float:
    metrics = NodeMetrics(group.replica(node), group[node].server, lambda: 0)
    samples = [one for family in metrics.collect() for one in family.samples]
    return next(one.value for one in samples if one.name == name)


def test_hello_and_ping_tell_who_leads_and_a_change_is_announced() -> None:
    group = led_by()
    peer = group["n2"].peer()
    hello = peer.answers[1]
    assert (hello.leader, hello.node_id, hello.term) == ("n1", "n2", 1)
    assert hello.members == [["n1", "n1:6379"], ["n2", "n2:6379"], ["n3", "n3:6379"]]
    group.tell("")
    group.elect("n3")
    group.settle()
    peer.read()
    assert peer.news == ["n3"]
    assert ask(group, peer, commands.Ping()).leader == "n3"


def test_an_empty_wait_ends_at_the_leader() -> None:
    group = led_by()
    peer = group["n2"].peer()
    (one,) = peer.send(claim(wait_ms=500))
    group.settle(0.4)
    assert peer.answer(one) is None
    group.settle(0.2)
    assert peer.answer(one) == Claimed([], 1)
