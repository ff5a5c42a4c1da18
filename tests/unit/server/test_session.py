"""Sessions: order, limits, backpressure, time-outs; through both real ends of the protocol."""

from __future__ import annotations

import pytest

from taskq import commands
from taskq.errors import Refusal
from taskq.limits import KIB, MIB
from taskq.results import Claimed, HelloReply, PingReply, Submitted, TaskView
from tests.unit.server.rig import Peer, Rig, claim, submit, task_id


def test_hello_tells_what_a_client_needs() -> None:
    rig = Rig(request_count_max=7, idle_secs=12)
    peer = rig.peer()
    hello = peer.connection.hello
    assert isinstance(hello, HelloReply)
    assert (hello.node_id, hello.leader, hello.term) == ("node1", "node1", 1)
    assert hello.members == [["node1", "127.0.0.1:6379"]]
    assert (hello.idle_timeout_ms, hello.requests_in_flight_max) == (12_000, 7)
    assert (hello.max_batch_claim, hello.server_version) == (10, "1.2.3")


def test_an_unknown_version_is_refused_and_closed() -> None:
    peer = Rig().peer(greet=False)
    _, frame = peer.connection.request(commands.Hello([99], "test"))
    peer.receive(frame)
    assert peer.answers[1].code == "UNSUPPORTED_VERSION"
    assert peer.pipe.lost


def test_requests_of_one_chunk_become_one_entry_and_one_write() -> None:
    rig = Rig()
    peer = rig.peer()
    before = len(peer.pipe.written)
    ids = peer.send(*[submit(n) for n in range(1, 51)])
    assert [peer.answers[i] for i in ids] == [Submitted(task_id(n)) for n in range(1, 51)]
    assert len(rig.replica.entries) == 1
    assert len(peer.pipe.written) == before + 1


def test_answers_come_in_any_order() -> None:
    peer = Rig().peer()
    parked, ping = peer.send(claim(), commands.Ping())
    assert peer.answers[ping] == PingReply("node1", 1)
    assert parked not in peer.answers


def test_byte_by_byte() -> None:
    peer = Rig().peer()
    request_id, frame = peer.connection.request(submit(1))
    for position in range(len(frame)):
        assert request_id not in peer.answers
        peer.receive(frame[position : position + 1])
    assert peer.answers[request_id] == Submitted(task_id(1))


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\xff" * 9])
def test_garbage_instead_of_hello_is_told_and_closed(garbage: bytes) -> None:
    rig = Rig()
    peer = rig.peer(greet=False)
    peer.session.data_received(garbage)
    rig.loop.settle()
    assert b"INVALID_REQUEST" in b"".join(peer.pipe.written)
    assert peer.pipe.lost
    assert len(rig.server.sessions) == 0


def test_a_wrong_field_is_refused_by_name_and_the_session_goes_on() -> None:
    peer = Rig().peer()
    request_id, frame = peer.connection.request(submit(1, priority=999))
    peer.receive(frame)
    refusal = peer.answers[request_id]
    assert refusal.code == "INVALID_REQUEST"
    assert "priority" in refusal.message
    assert peer.ask(commands.Ping()) == PingReply("node1", 1)


def test_over_the_connection_limit_hello_is_answered_then_closed() -> None:
    rig = Rig(connection_count_max=2)
    first, _second = rig.peer(), rig.peer()
    third = rig.peer()
    assert third.answers[1].code == "TOO_MANY_CONNECTIONS"
    assert third.answers[1].retry_after_ms > 0
    assert third.pipe.lost
    first.hang_up()
    assert isinstance(rig.peer().answers[1], HelloReply)


def test_who_has_not_said_hello_takes_no_place_of_a_client_and_the_slowest_goes() -> None:
    rig = Rig(connection_count_max=2, newcomer_count_max=3)
    silent = [rig.peer(greet=False) for _ in range(5)]
    rig.loop.settle()
    assert [peer.pipe.aborted for peer in silent] == [True, True, False, False, False]
    clients = [rig.peer(), rig.peer()]
    assert all(isinstance(client.answers[1], HelloReply) for client in clients)
    assert len(rig.server.sessions.all()) == 4, "two clients, and two of three strangers"


def test_requests_in_flight_are_bounded_and_go_on() -> None:
    rig = Rig(request_count_max=10)
    peer = rig.peer()
    rig.replica.held = True
    ids = peer.send(*[submit(n) for n in range(1, 36)])
    assert peer.session.in_flight == 10
    assert peer.pipe.paused
    rig.replica.release()
    rig.loop.settle()
    peer.read()
    assert [peer.answers[i] for i in ids] == [Submitted(task_id(n)) for n in range(1, 36)]
    assert not peer.pipe.paused
    assert [len(entry) for entry in rig.replica.entries] == [10, 10, 10, 5]
    assert (peer.session.in_flight, peer.session.held) == (0, peer.session.unread)


def test_bytes_in_flight_are_bounded_but_one_request_is_always_taken() -> None:
    rig = Rig(connection_size_max=64 * KIB)
    peer = rig.peer()
    rig.replica.held = True
    large = submit(1, payload=b"x" * 500_000)
    ids = peer.send(large, *[submit(n) for n in range(2, 10)])
    assert peer.session.in_flight == 1
    assert peer.pipe.paused
    rig.replica.release()
    rig.loop.settle()
    peer.read()
    assert all(isinstance(peer.answers[i], Submitted) for i in ids)


def test_a_request_whose_sender_gave_up_is_not_proposed() -> None:
    rig = Rig(request_count_max=1)
    peer = rig.peer()
    rig.replica.held = True
    first, late, patient = peer.send(submit(1), submit(2), submit(3), deadline_ms=500)
    del patient
    rig.loop.advance(0.6)
    rig.replica.release()
    rig.loop.settle()
    peer.read()
    assert peer.answers[first] == Submitted(task_id(1))
    assert peer.answers[late].code == "DEADLINE_EXCEEDED"
    assert peer.ask(commands.QueryStatus(task_id(2))).code == "NOT_FOUND"


def test_large_reads_wait_for_their_reader() -> None:
    rig = Rig(connection_size_max=256 * KIB)
    peer = rig.peer()
    result = b"r" * 100 * KIB
    peer.ask(submit(1))
    token = peer.ask(claim()).tasks[0].token
    peer.ask(commands.TaskResult(task_id(1), token, True, result))
    peer.pipe.reads = False
    ids = peer.send(*[commands.QueryStatus(task_id(1)) for _ in range(200)])
    answered = sum(i in peer.answers for i in ids)
    assert answered < 10
    assert peer.session.unread < 512 * KIB
    assert peer.pipe.paused
    while answered < 200:
        peer.pipe.drain()
        rig.loop.settle()
        peer.read()
        now = sum(i in peer.answers for i in ids)
        assert now > answered
        answered = now
    assert all(peer.answers[i].result == result for i in ids)
    assert not peer.pipe.paused


def test_answers_already_started_wait_as_well() -> None:
    """The reader stops while reads are between their barrier and their answer."""
    rig = Rig(connection_size_max=128 * KIB)
    peer = rig.peer()
    barriers = []
    rig.replica.read_barrier = lambda sink, tag: barriers.append((sink, tag))  # type: ignore[method-assign]
    peer.ask(submit(1))
    token = peer.ask(claim()).tasks[0].token
    peer.ask(commands.TaskResult(task_id(1), token, True, b"r" * 60 * KIB))
    ids = peer.send(*[commands.QueryStatus(task_id(1)) for _ in range(20)])
    peer.pipe.reads = False
    for sink, tag in barriers:
        sink.deliver(tag, None)
    rig.loop.settle()
    assert peer.session.unread < 300 * KIB
    for _ in range(20):
        peer.pipe.drain()
        rig.loop.settle()
    peer.read()
    assert all(isinstance(peer.answers[i], TaskView) for i in ids)


def test_who_never_reads_is_dropped_after_the_idle_time() -> None:
    rig = Rig(connection_size_max=128 * KIB, idle_secs=30)
    peer = rig.peer()
    peer.pipe.reads = False
    peer.send(*[commands.GetStats() for _ in range(1000)])
    rig.loop.advance(25)
    assert not peer.pipe.aborted
    rig.loop.advance(10)
    assert peer.pipe.aborted
    assert rig.server.counters.dropped == {"does not read": 1}
    assert rig.server.sessions.size == 0


def test_silence_ends_a_connection_and_pings_keep_it() -> None:
    rig = Rig(idle_secs=30)
    silent, alive = rig.peer(), rig.peer()
    for _ in range(5):
        rig.loop.advance(10)
        alive.ask(commands.Ping())
    assert silent.pipe.aborted
    assert not alive.pipe.closing


def test_a_trickle_of_bytes_keeps_nothing_but_a_slow_large_frame_lives() -> None:
    rig = Rig(idle_secs=30)
    trickle, slow = rig.peer(), rig.peer()
    _, frame = trickle.connection.request(submit(1, payload=b"x" * 900_000))
    request_id, same = slow.connection.request(submit(1, payload=b"x" * 900_000))
    for step in range(9):
        rig.loop.advance(10)
        if not trickle.pipe.closing:
            trickle.receive(frame[step : step + 1])
        slow.receive(same[step * 100_000 : (step + 1) * 100_000])
    assert trickle.pipe.aborted
    slow.receive(same[900_000:])
    assert slow.answers[request_id] == Submitted(task_id(1))


def test_no_hello_is_no_connection() -> None:
    rig = Rig(hello_secs=10, idle_secs=300)
    peer = rig.peer(greet=False)
    rig.loop.advance(9)
    assert not peer.pipe.closing
    rig.loop.advance(3)
    assert peer.pipe.aborted


def test_the_node_as_a_whole_stops_reading_and_goes_on() -> None:
    rig = Rig(node_size_max=300_000)
    peers = [rig.peer() for _ in range(4)]
    rig.replica.held = True
    sent = [peer.send(submit(n, payload=b"x" * 100_000))[0] for n, peer in enumerate(peers, 1)]
    assert [peer.pipe.paused for peer in peers] == [False, False, True, True]
    rig.replica.release()
    rig.loop.settle()
    assert not any(peer.pipe.paused for peer in peers)
    for number, (peer, request_id) in enumerate(zip(peers, sent, strict=True), 1):
        assert peer.answer(request_id) == Submitted(task_id(number))
    assert rig.server.sessions.size < 10_000


def test_incomplete_frames_of_many_are_shed() -> None:
    rig = Rig(node_size_max=1 * MIB)
    peers = [rig.peer() for _ in range(8)]
    _, frame = peers[0].connection.request(submit(1, payload=b"x" * 900_000))
    for peer in peers:
        peer.receive(frame[:300_000])
    assert rig.server.sessions.size > 2 * MIB
    rig.loop.advance(3)
    assert rig.server.sessions.size < 1 * MIB
    assert rig.server.counters.dropped["memory"] >= 4
    left = [peer for peer in peers if not peer.pipe.closing]
    assert left
    assert not any(peer.pipe.paused for peer in left)


def test_the_account_ends_at_nothing() -> None:
    rig = Rig(connection_size_max=256 * KIB)
    peers = [rig.peer() for _ in range(5)]
    rig.replica.held = True
    for peer in peers:
        peer.send(submit(1), claim(), commands.GetStats(), commands.QueryStatus(task_id(9)))
        peer.pipe.reads = False
        peer.send(*[commands.ListTasks()] * 50, *[commands.GetStats()] * 900)
    for peer in peers:
        assert peer.session.deferred
        peer.hang_up()
    assert rig.server.sessions.size > 0, "what is in the log still counts"
    rig.replica.release()
    rig.loop.settle()
    assert rig.server.sessions.size == 0
    assert len(rig.server.sessions) == 0
    assert rig.server.waiting.claims.count == 0


def test_answers_to_a_lost_connection_are_dropped() -> None:
    rig = Rig()
    peer = rig.peer()
    rig.replica.held = True
    peer.send(submit(1))
    peer.hang_up()
    rig.replica.release()
    rig.loop.settle()
    assert isinstance(rig.peer().ask(commands.QueryStatus(task_id(1))), TaskView)


def test_a_reply_larger_than_a_frame_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    view = rig.replica.machine.ask(commands.QueryStatus(task_id(1)))
    huge = view._replace(result=bytes(17 * MIB))
    monkeypatch.setattr(rig.replica.machine, "ask", lambda *_: huge)
    assert peer.ask(commands.QueryStatus(task_id(1))).code == "RESULT_TOO_LARGE"
    assert peer.ask(commands.Ping()) == PingReply("node1", 1)


def test_a_thousand_requests_of_one_are_not_a_round_without_the_others() -> None:
    rig = Rig(request_count_max=65_536)
    greedy, modest = rig.peer(), rig.peer()
    pairs = [greedy.connection.request(commands.Ping()) for _ in range(5000)]
    greedy.session.data_received(b"".join(frame for _, frame in pairs))
    assert greedy.pipe.paused
    before = rig.loop.rounds
    modest.ask(commands.Ping())
    greedy.read()
    assert len(greedy.answers) == 5001
    assert rig.loop.rounds - before >= 4


def _claimed(peer: Peer) -> Claimed:
    reply = peer.ask(claim(wait_ms=0))
    assert isinstance(reply, Claimed)
    return reply


def test_refusals_are_counted_by_message_and_code() -> None:
    rig = Rig()
    peer = rig.peer()
    assert isinstance(peer.ask(commands.QueryStatus(task_id(1))), Refusal)
    assert _claimed(peer).tasks == []
    counters = rig.server.counters
    assert counters.refused == {(0x20, "NOT_FOUND"): 1}
    assert counters.answered[0x12] == 1
    assert sum(counters.latencies) == 2  # the answer to Hello is no request of a user


def test_a_closed_connection_whose_peer_does_not_read_is_ended() -> None:
    rig = Rig(idle_secs=30)
    peer = rig.peer()
    peer.pipe.reads = False
    peer.receive(b"\xff" * 20)
    assert peer.pipe.closing
    assert not peer.pipe.lost
    rig.loop.advance(25)
    assert not peer.pipe.aborted
    rig.loop.advance(10)
    assert peer.pipe.lost


def test_silence_counts_from_when_the_peer_can_be_heard_again() -> None:
    rig = Rig(request_count_max=1, idle_secs=30)
    peer = rig.peer()
    rig.replica.held = True
    peer.send(submit(1), submit(2), deadline_ms=600_000)
    assert peer.pipe.paused
    rig.loop.advance(300)
    assert not peer.pipe.closing, "it may have pinged all the time"
    rig.replica.release()
    rig.loop.advance(20)
    assert not peer.pipe.closing
    rig.loop.advance(15)
    assert peer.pipe.aborted


def test_what_drains_without_a_word_is_noticed() -> None:
    """Below the high-water mark a transport does not tell that it has written."""
    rig = Rig(connection_size_max=64 * KIB)
    peer = rig.peer()
    rig.replica.held = True
    peer.pipe.reads = False
    peer.send(*[commands.GetStats()] * 100)
    assert 25_000 < peer.session.unread < 32 * KIB
    (request_id,) = peer.send(submit(1, payload=b"x" * 38_000))
    (behind,) = peer.send(submit(2))
    assert peer.session.in_flight == 1
    peer.pipe.unread = 0
    rig.loop.advance(2)
    assert peer.session.in_flight == 2
    rig.replica.release()
    assert peer.answer(request_id) == Submitted(task_id(1))
    assert peer.answer(behind) == Submitted(task_id(2))


def test_a_listing_that_had_to_wait_its_turn_looks_again_whether_it_is_read() -> None:
    rig = Rig(connection_size_max=64 * KIB)
    peer = rig.peer()
    for start in range(1, 1001, 100):
        peer.send(*[submit(n) for n in range(start, start + 100)])
    peer.pipe.reads = False
    ids = peer.send(*[commands.ListTasks(limit=1000)] * 10)
    assert sum(i in peer.answers for i in ids) <= 2
    for _ in range(10):
        peer.pipe.drain()
        peer.pipe.reads = False
        rig.loop.settle()
        assert peer.session.unread < 400 * KIB
    peer.read()
    assert all(i in peer.answers for i in ids)


def test_a_bug_met_by_one_connection_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    bad, good = rig.peer(), rig.peer()

    def broken(_: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(bad.pipe, "write", broken)
    bad.session.data_received(bad.connection.request(commands.Ping())[1])
    assert good.ask(commands.Ping()) == PingReply("node1", 1)
    assert bad.pipe.lost
