"""Several nodes: which one the client talks to, and how it gets away from a bad one."""

from __future__ import annotations

import asyncio
import socket

import pytest

from taskq import AsyncClient, Unavailable
from taskq import commands as c
from taskq.errors import ErrorCode, refuse
from tests.integration.client.scripted_node import Drop, ScriptedNode, settled

REFUSED = refuse(ErrorCode.TOO_MANY_CONNECTIONS, "1000 connections are open", 100)


def url_of(*nodes: ScriptedNode) -> str:
    return "taskq://" + ",".join(node.address for node in nodes)


async def test_a_dead_address_is_passed_over(unused_tcp_port):
    async with ScriptedNode() as node:
        url = f"taskq://127.0.0.1:{unused_tcp_port},{node.address}"
        async with AsyncClient(url, timeout=2) as client:
            await client.submit("q")
            assert len(node.tasks) == 1


async def test_an_address_that_never_answers_is_passed_over():
    # A listening socket that nobody accepts from: connects, and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with ScriptedNode() as node:
            url = f"taskq://127.0.0.1:{mute.getsockname()[1]},{node.address}"
            async with AsyncClient(url, timeout=5) as client:
                await client.submit("q")
                assert len(node.tasks) == 1


async def test_the_other_node_takes_over():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        b.tasks = a.tasks  # one cluster
        async with AsyncClient(url_of(a, b), timeout=5) as client:
            await client.submit("q")

            def script(command):
                a.server.close()
                return Drop(carried_out=True)

            a.script = script
            handle = await client.submit("q")
            assert handle.id.bytes in b.tasks
            assert b.count(c.SubmitTask) == 1
            assert len(a.tasks) == 2


async def test_members_the_url_does_not_name_are_found():
    async with ScriptedNode("b") as b, ScriptedNode("a") as a:
        a.hello["members"] = [["a", a.address], ["b", b.address], ["c", "nonsense:port"]]
        async with AsyncClient(a.url, timeout=5) as client:
            await client.submit("q")
            await a.stop()
            await client.submit("q")
            assert len(b.tasks) == 1


async def test_the_client_goes_to_the_leader():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        a.hello.update(leader="b", members=[["a", a.address], ["b", b.address]])
        async with AsyncClient(a.url, timeout=5) as client:
            await client.ping()
            await settled(lambda: b.connection_count == 1 and not a.peers)
            await client.submit("q")
            assert (len(a.tasks), len(b.tasks)) == (0, 1)


async def test_without_a_way_to_the_leader_a_member_will_do(unused_tcp_port):
    async with ScriptedNode("a") as a:
        leader = f"127.0.0.1:{unused_tcp_port}"
        a.hello.update(leader="b", members=[["a", a.address], ["b", leader]])
        async with AsyncClient(a.url, timeout=2) as client:
            for _ in range(3):
                await client.submit("q")
                await asyncio.sleep(0.01)
            assert (len(a.tasks), a.connection_count) == (3, 1)


async def test_a_new_leader_is_followed_and_open_calls_end_where_they_are():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        members = [["a", a.address], ["b", b.address]]
        a.hello.update(leader="a", members=members)
        b.hello.update(leader="b", members=members)
        async with AsyncClient(a.url, timeout=5) as client:
            await client.ping()
            held = asyncio.get_running_loop().create_future()
            a.script = lambda command: held if isinstance(command, c.SubmitTask) else None
            open_call = asyncio.create_task(client.submit("q"))
            await settled(lambda: a.count(c.SubmitTask) == 1)
            a.hello["leader"] = "b"
            # A refusal makes the client ask who leads.
            a.script = lambda command: (
                refuse(ErrorCode.NO_LEADER, "lost it", 50)
                if isinstance(command, c.GetStats)
                else None
            )
            asking = asyncio.create_task(client.stats())
            await settled(lambda: b.connection_count == 1)
            await client.submit("q")
            assert len(b.tasks) == 1
            held.set_result(None)
            await open_call
            assert len(a.tasks) == 1
            await settled(lambda: not a.peers)
            asking.cancel()


async def test_nodes_that_take_each_other_for_the_leader_do_not_make_it_run_in_circles():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        members = [["a", a.address], ["b", b.address]]
        a.hello.update(leader="b", members=members)
        b.hello.update(leader="a", members=members)
        async with AsyncClient(a.url, timeout=5) as client:
            for _ in range(20):
                await client.submit("q")
                await asyncio.sleep(0.005)
            assert a.connection_count + b.connection_count <= 2


async def test_a_node_without_room_is_passed_over():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        a.greeting = REFUSED
        async with AsyncClient(url_of(a, b), timeout=2) as client:
            await client.submit("q")
            assert len(b.tasks) == 1


async def test_a_leader_without_room_is_reached_through_a_member():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        b.greeting = REFUSED
        a.hello.update(leader="b", members=[["a", a.address], ["b", b.address]])
        async with AsyncClient(a.url, timeout=2) as client:
            await client.submit("q")
            await settled(lambda: b.connection_count == 1)
            await client.submit("q")
            assert len(a.tasks) == 2


async def test_no_room_anywhere_is_said_so():
    async with ScriptedNode("a") as a, ScriptedNode("b") as b:
        a.greeting = b.greeting = REFUSED
        async with AsyncClient(url_of(a, b), timeout=0.4) as client:
            with pytest.raises(Unavailable, match="1000 connections are open"):
                await client.submit("q")


async def test_room_again_within_the_deadline():
    async with ScriptedNode("a") as a:
        a.greeting = REFUSED
        async with AsyncClient(a.url, timeout=5) as client:
            call = asyncio.create_task(client.submit("q"))
            await settled(lambda: a.connection_count >= 2)
            a.greeting = None
            await call


async def test_ipv6():
    node = ScriptedNode()
    node.host = "::1"
    try:
        await node.start()
    except OSError:
        return  # this machine has no IPv6; the unit tests cover how it is written
    async with AsyncClient(f"taskq://[::1]:{node.port}", timeout=2) as client:
        await client.submit("q")
    await node.stop()
    assert len(node.tasks) == 1
