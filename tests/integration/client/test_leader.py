"""How the client finds the leader, follows it, and gets away from one that is gone or hangs."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from taskq import AsyncClient, OutcomeUnknown
from taskq import commands as c
from taskq.client import leader_search
from taskq.errors import ErrorCode, Refusal, refuse
from tests.integration.client.scripted_node import Drop, ScriptedNode, Silent, settled

OUT_OF_REACH = "127.0.0.1:1"


def led_from_out_of_reach(
    a: ScriptedNode, b: ScriptedNode, *, leader: ScriptedNode, term: int = 1
) -> None:
    """As `group`, but what they tell of the leader is an address that nobody reaches."""
    group(a, b, leader=leader, term=term)
    for node in (a, b):
        node.hello["members"] = [["a", a.address], ["b", b.address], ["x", OUT_OF_REACH]]
        node.hello["leader"] = "x"


def group(*nodes: ScriptedNode, leader: ScriptedNode, term: int = 1) -> None:
    """Makes the nodes members of one cluster."""
    members = [[node.node_id, node.address] for node in nodes]
    for node in nodes:
        node.hello.update(members=members, leader=leader.node_id, term=term)
        node.tasks = nodes[0].tasks


def silent(_: Any) -> Silent:
    return Silent()


async def submitted_within(client: AsyncClient, seconds: float) -> None:
    started = time.perf_counter()
    await client.submit("q")
    assert time.perf_counter() - started < seconds


async def test_a_new_leader_that_is_announced_is_followed():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=5) as client:
            await client.submit("q")
            group(a, b, leader=b)
            a.announce()
            await settled(lambda: b.connection_count == 1 and not a.peers)
            await client.submit("q")
            assert (a.count(c.SubmitTask), b.count(c.SubmitTask)) == (1, 1)
            assert a.count(c.Ping) == 0, "nobody had to ask"


async def test_an_announcement_carries_members_that_were_not_known():
    nodes = ScriptedNode("a"), ScriptedNode("b")
    async with nodes[0] as a, nodes[1] as b, AsyncClient(a.url, timeout=5) as client:
        await client.submit("q")
        group(a, b, leader=b)
        a.announce()
        await settled(lambda: b.connection_count == 1)


async def test_a_leader_whose_address_was_not_known_is_found_later():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=b)
        a.hello["members"] = [["a", a.address], ["b", ""]]
        async with AsyncClient(a.url, timeout=5) as client:
            await client.submit("q")
            assert (a.count(c.SubmitTask), b.connection_count) == (1, 0)
            a.hello["members"] = [["a", a.address], ["b", b.address]]
            await settled(lambda: b.connection_count == 1)


async def test_a_node_that_knew_no_leader_is_asked_again():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        a.hello["leader"] = ""
        async with AsyncClient(a.url, timeout=5) as client:
            await client.submit("q")
            a.hello["leader"] = "b"
            await settled(lambda: b.connection_count >= 1 and not a.peers)


async def test_a_crashed_leader_costs_no_pause():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b, ScriptedNode("c") as third:
        group(a, b, third, leader=a)
        async with AsyncClient(a.url, timeout=5) as client:
            await client.submit("q")
            await a.stop()
            await submitted_within(client, 0.045)


async def test_an_idle_connection_that_breaks_costs_no_pause_either():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        a.script = lambda command: Silent() if isinstance(command, c.ClaimTask) else None
        async with AsyncClient(a.url, timeout=5) as client:
            worker = client.worker()
            claiming = asyncio.create_task(worker.claim(["q"], wait=5))
            await settled(lambda: a.count(c.ClaimTask) == 1)
            started = time.perf_counter()
            await a.stop()
            await settled(lambda: b.count(c.ClaimTask) == 1)
            assert time.perf_counter() - started < 0.045
            claiming.cancel()


async def test_a_machine_that_vanished_with_its_node_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as mute:  # connects, and says nothing
        async with ScriptedNode("a") as a, ScriptedNode("b") as b:
            group(a, b, leader=a)
            members = [["a", a.address], ["x", f"127.0.0.1:{mute.getsockname()[1]}"]]
            a.hello["members"] = [*members, ["b", b.address]]
            async with AsyncClient(a.url, timeout=5) as client:
                await client.submit("q")
                await a.stop()
                await submitted_within(client, 0.3)
                assert b.count(c.SubmitTask) == 1


async def test_a_leader_that_hangs_is_left_when_the_others_have_another():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=10) as client:
            await client.submit("q")
            a.script = silent
            group(a, b, leader=b, term=2)
            await submitted_within(client, 1.2)
            assert b.count(c.SubmitTask) == 1


async def test_a_leader_that_hangs_is_left_as_soon_as_the_others_have_another():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=10) as client:
            await client.submit("q")
            a.script = silent
            call = asyncio.create_task(client.submit("q"))
            await asyncio.sleep(1.5)
            assert not call.done()
            assert b.connection_count >= 1
            assert a.connection_count == 1, "b takes a for the leader still"
            group(a, b, leader=b, term=2)
            started = time.perf_counter()
            await call
            assert time.perf_counter() - started < 0.5


async def test_a_node_without_a_leader_is_left_for_one_that_has_one():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=10) as client:
            await client.submit("q")
            # Cut off from the others: it answers pings, and holds requests.
            a.script = lambda command: None if isinstance(command, c.Ping) else Silent()
            a.hello["leader"] = ""
            a.announce()
            call = asyncio.create_task(client.submit("q"))
            await settled(lambda: b.connection_count >= 1)
            await asyncio.sleep(0.2)
            assert not call.done()
            assert a.connection_count == 1, "b takes a for the leader still"
            group(a, b, leader=b, term=2)
            a.hello["leader"] = ""
            await asyncio.wait_for(call, 2.5)
            assert b.count(c.SubmitTask) == 1
            await settled(lambda: not a.peers)


async def test_nobody_is_left_for_a_node_that_has_no_leader_either():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=10) as client:
            await client.submit("q")
            for node in (a, b):
                node.hello.update(leader="", term=2)
            a.announce()
            await settled(lambda: b.connection_count >= 2)
            await client.submit("q")
            assert (a.count(c.SubmitTask), a.connection_count) == (2, 1)


def knows_no_leader(node: ScriptedNode) -> None:
    """It answers pings, and holds requests, as one that is cut off from the others does."""
    node.script = lambda command: None if isinstance(command, c.Ping) else Silent()
    node.hello["leader"] = ""


async def test_a_leader_that_was_out_of_reach_does_not_slow_the_leaving(monkeypatch):
    monkeypatch.setattr(leader_search, "SEEK_SECONDS", 8.0)  # as after a dozen attempts to reach it
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        led_from_out_of_reach(a, b, leader=b)
        async with AsyncClient(a.url, timeout=10) as client:
            await client.submit("q")
            await asyncio.sleep(0.1)  # it has tried to go to x
            knows_no_leader(a)
            await submitted_within(client, 1.2)
            assert b.count(c.SubmitTask) == 1


async def test_a_node_that_has_found_a_leader_meanwhile_is_not_left():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=10) as client:
            await client.submit("q")
            knows_no_leader(a)
            call = asyncio.create_task(client.submit("q"))
            await settled(lambda: a.count(c.Ping) >= 1)
            led_from_out_of_reach(a, b, leader=a, term=2)
            a.announce()
            await asyncio.sleep(0.5)
            assert (b.connection_count, len(a.peers)) == (0, 1)
            call.cancel()


async def test_a_node_that_is_behind_does_not_call_the_client_away():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a, term=7)
        b.hello.update(leader="c", term=6)
        async with AsyncClient(a.url, timeout=10) as client:
            await client.submit("q")
            held = asyncio.get_running_loop().create_future()
            a.script = lambda command: Silent() if isinstance(command, c.Ping) else held
            call = asyncio.create_task(client.submit("q"))
            await settled(lambda: b.connection_count >= 2)
            assert not call.done()
            held.set_result(None)
            await call
            assert b.count(c.SubmitTask) == 0


async def test_a_parked_claim_does_not_make_its_node_suspect():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        a.script = lambda command: Silent() if isinstance(command, c.ClaimTask) else None
        async with AsyncClient(a.url, timeout=5) as client:
            claiming = asyncio.create_task(client.worker().claim(["q"], wait=5))
            await asyncio.sleep(1.0)
            await submitted_within(client, 0.1)
            await asyncio.sleep(0.3)
            assert (b.connection_count, a.count(c.Ping)) == (0, 0)
            claiming.cancel()


async def test_a_lost_answer_is_asked_for_again_at_once_and_then_with_pauses():
    lost = Refusal(ErrorCode.UNAVAILABLE.value, "the leader was lost", 0, True)
    async with ScriptedNode("a") as a, AsyncClient(a.url, timeout=0.5) as client:
        answers = [lost]
        a.script = lambda command: answers.pop() if answers else None
        await submitted_within(client, 0.04)
        a.received.clear()
        a.script = lambda command: lost
        with pytest.raises(OutcomeUnknown):
            await client.submit("q")
        assert 3 <= a.count(c.SubmitTask) <= 6


async def test_a_node_that_stops_is_left_at_once():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=5) as client:
            await client.submit("q")
            a.script = lambda command: refuse(ErrorCode.UNAVAILABLE, "stopping", 1_000)
            await submitted_within(client, 0.1)
            assert b.count(c.SubmitTask) == 1


async def test_requests_of_a_leader_that_crashed_are_all_repeated():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        group(a, b, leader=a)
        async with AsyncClient(a.url, timeout=5) as client:
            await client.submit("q")

            def crash(command: Any) -> Drop:
                a.server.close()
                return Drop(carried_out=True)

            a.script = crash
            await asyncio.gather(*(client.submit("q") for _ in range(50)))
            assert b.count(c.SubmitTask) == 50
            assert len(b.tasks) == 51
