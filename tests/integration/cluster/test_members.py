"""Members of real clusters under load: from one to three to five and back, the leader among those
that leave; what is refused; and what becomes of a node that was removed."""

from __future__ import annotations

import asyncio
import faulthandler
import random
import shutil
from pathlib import Path

import pytest

from chaos.history import History
from chaos.live.cluster import LiveCluster, free_ports
from chaos.live.load import Load
from chaos.live.members import address_of, change, grow, shrink
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.live.verdict import judged
from taskq import AsyncClient
from taskq.commands import AddMember, GetStats
from taskq.errors import NotFound, RequestRefused, Unavailable
from taskq.results import MemberRole, MemberView

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100)]


async def roles(cluster: LiveCluster, name: str) -> dict[str, MemberView]:
    """What a node itself says of all."""
    status = await cluster.status(name)
    assert status is not None
    return {view.node_id: view for view in (MemberView(*one) for one in status.members)}


async def test_one_to_three_to_five_and_back_under_load(tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()
    history = History()
    with LiveCluster(tmp_path, count=1) as cluster:
        cluster.start()
        await cluster.whole()
        load = Load(cluster.urls, Recorder(history), 6, 0.03)
        load.start()
        for name in ("n2", "n3", "n4", "n5"):
            await grow(cluster, name)
        await cluster.whole()
        assert set(await roles(cluster, "n1")) == {"n1", "n2", "n3", "n4", "n5"}

        # Two are gone: of the rest none may leave, but those two may.
        await _gone(cluster, "n4", "n5")
        with pytest.raises(RequestRefused, match="are needed: n4, n5 must come back"):
            await shrink(cluster, "n2")
        for name in ("n4", "n5"):
            await shrink(cluster, name)
            del cluster.nodes[name]
        with pytest.raises(NotFound, match="n9 is no member"):
            await shrink(cluster, "n9")
        await grow(cluster, "n6")
        await cluster.whole()

        leader = await cluster.leader()
        await shrink(cluster, leader)
        removed = cluster.nodes.pop(leader)
        await cluster.whole()
        load.check()
        await load.stop()
        async with AsyncClient(cluster.url) as client:
            ids = {call.args["id"] for call in history.of("submit")}
            history.final = await read_out(client, ids)
        cluster.nodes[leader] = removed
        await _is_quiet(cluster, leader)
    assert judged(history).violations == []
    assert sum(call.ok for call in history.of("complete")) > 50


async def _gone(cluster: LiveCluster, *names: str) -> None:
    """They are killed, and the leader knows it."""
    cluster.kill(*names)
    for _ in range(500):
        seen = await roles(cluster, await cluster.leader())
        if all(seen[one].role == MemberRole.UNREACHABLE for one in names):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{names} are still seen")


async def _is_quiet(cluster: LiveCluster, name: str) -> None:
    """A node that was removed says so, serves nobody, does not stand, and knows it after a restart
    on its own folder."""
    others = [one for one in cluster.nodes if one != name]
    before = await cluster.status(random.choice(others))
    for _ in range(2):
        seen = await roles(cluster, name)
        assert seen[name].role == MemberRole.REMOVED
        assert "removed it" in seen[name].state
        with pytest.raises(Unavailable, match="no member of the cluster any more"):
            await cluster.ask(name, GetStats())
        await asyncio.sleep(0.5)
        cluster.nodes[name].terminate()
        cluster.nodes[name].spawn()
        await cluster.nodes[name].serving()
    after = await cluster.status(others[0])
    assert before is not None
    assert after is not None
    assert after.term == before.term
    assert set(await roles(cluster, others[0])) == set(others)


async def test_a_node_is_added_only_where_it_is_found(tmp_path: Path) -> None:
    """Whoever types the address may be wrong, by the port for clients, or that of another member,
    while the node runs and has dialled the leader."""
    with LiveCluster(tmp_path, count=1) as cluster:
        cluster.start()
        await cluster.whole()
        cluster.nodes["n2"] = node = cluster.spare("n2")
        node.spawn()
        right = address_of(cluster, "n2")
        for wrong in (f"127.0.0.1:{node.port}", f"localhost:{cluster.raft_ports['n1']}"):
            with pytest.raises(RequestRefused, match=f"says that its Raft port is at {right}"):
                await change(cluster, AddMember("n2", wrong))
            assert (await roles(cluster, "n1"))["n1"].role == MemberRole.LEADER
        await change(cluster, AddMember("n2", right))
        await cluster.whole()


async def test_a_member_that_was_added_moves(tmp_path: Path) -> None:
    """The log says where it was; raft.peers of all, where it is."""
    with LiveCluster(tmp_path, count=1) as cluster:
        cluster.start()
        await cluster.whole()
        await grow(cluster, "n2")
        await cluster.whole()
        cluster.kill("n1", "n2")
        (cluster.raft_ports["n2"],) = free_ports(1)
        peers = [f"{name}={address_of(cluster, name)}" for name in ("n1", "n2")]
        for name, node in cluster.nodes.items():
            node.settings |= {
                "raft.peers": ",".join(peers),
                "raft.port": cluster.raft_ports[name],
            }
        cluster.start()
        await cluster.whole()


async def test_a_member_that_reaches_nobody_is_not_counted(tmp_path: Path) -> None:
    with LiveCluster(tmp_path) as cluster:
        cluster.start()
        await cluster.whole()
        node = cluster.nodes["n3"]
        cluster.kill("n3")
        nobody = [
            f"{name}=127.0.0.1:{port}"
            for name, port in zip(("n1", "n2"), free_ports(2), strict=True)
        ]
        node.settings["raft.peers"] = ",".join([f"n3={address_of(cluster, 'n3')}", *nobody])
        node.spawn()
        async with asyncio.timeout(20):
            view = None
            while view is None or "does not reach" not in view.state:
                await asyncio.sleep(0.1)
                view = (await roles(cluster, "n1"))["n3"]
        assert view.role == MemberRole.UNREACHABLE


async def test_the_first_node_comes_back_with_an_empty_disk(tmp_path: Path) -> None:
    """Its raft.peers names itself alone, as when it founded the cluster."""
    with LiveCluster(tmp_path, count=1) as cluster:
        cluster.start()
        for name in ("n2", "n3"):
            await cluster.whole()
            await grow(cluster, name)
        await cluster.whole()
        assert "n2" not in cluster.nodes["n1"].settings["raft.peers"]
        cluster.kill("n1")
        cluster.wipe("n1")
        cluster.start(["n1"])
        await cluster.whole()
        assert set(await roles(cluster, "n1")) == {"n1", "n2", "n3"}


async def test_an_older_disk_of_a_member_counts_for_nothing_and_says_so(tmp_path: Path) -> None:
    """n3 is removed, and added again with an empty folder; then the machine with the old one is
    back, and is emptied."""
    with LiveCluster(tmp_path / "cluster") as cluster:
        cluster.start()
        await cluster.whole()
        cluster.kill("n3")
        folder, old = cluster.nodes["n3"].folder, tmp_path / "old"
        shutil.copytree(folder, old)
        del cluster.nodes["n3"]
        await shrink(cluster, "n3")
        shutil.rmtree(folder)
        await grow(cluster, "n3")
        await cluster.whole()

        cluster.kill("n3")
        shutil.rmtree(folder)
        shutil.copytree(old, folder)
        cluster.start(["n3"])
        await cluster.nodes["n3"].serving()
        for name in ("n3", await _follower(cluster, but="n3"), await cluster.leader()):
            await _superseded(cluster, name, "n3")
        assert "older disk" in cluster.nodes[await cluster.leader()].log_tail(100_000)

        cluster.kill("n3")
        cluster.wipe("n3")
        cluster.start(["n3"])
        await cluster.whole()


async def _follower(cluster: LiveCluster, but: str) -> str:
    leader = await cluster.leader()
    return next(one for one in cluster.nodes if one not in (leader, but))


async def _superseded(cluster: LiveCluster, name: str, member: str) -> None:
    """Waits until a node says of the member that it has an older disk."""
    for _ in range(500):
        view = (await roles(cluster, name))[member]
        if view.role == MemberRole.NON_VOTING and "given to another disk" in view.state:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} says {view}")
