"""Guests, in the row about false nodes: a certificate of the nodes' authority lets in any name.

Here that is no node: an authority that signs web servers, too, signed it. It may say who it is and
where it is reached, as a node does that is to be added. It says everything else that nodes say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgpack

from chaos.attack.peers import TERM_LEAP, changed, facts, foreign_certificates, shake_hands
from chaos.attack.scene import Scene
from chaos.attack.stranger import Stranger
from chaos.attack.tries import Tries
from cluster.replication import founding_letters, member_letters, messages
from cluster.replication.channels import FORWARD, FOUNDING, MEMBERS, NOTE, RAFT, SNAPSHOT
from cluster.replication.links import Note
from cluster.replication.member_letters import MemberLetter
from cluster.replication.peers.trust import trust_loopback
from cluster.replication.snapshots import messages as snapshots
from cluster.server.forward_letters import pack_requests
from taskq import commands
from taskq.protocol.codec import encode_request, make_pack

WEB = "web.example.com"
# Longer than a request that is passed on takes, or an election after a message that deposes.
ACT_SECS = 0.1
FAR = 2**62


async def false_nodes(scene: Scene, tries: Tries) -> None:
    """Certificates that let nobody in; then one that does, under a name that no node has."""
    await foreign_certificates(scene, tries)
    await guests(scene, tries)


async def guests(scene: Scene, tries: Tries) -> None:
    """To each node, message by message; then all of them on one connection."""
    assert scene.papers is not None
    key = trust_loopback().key
    before = {to: await facts(scene, to) for to in scene.cluster.nodes}
    term = max(one.term for one in before.values() if one is not None)
    said = list(_said(term))
    for to, port in scene.cluster.raft_ports.items():
        for words in [[one] for one in said] + [said]:
            async with await Stranger.connect(port, scene.papers.context(WEB)) as guest:
                sealer, _ = await shake_hands(guest, WEB, to, key)
                for message in words:
                    await guest.throw(sealer.seal(message))
                assert not await guest.is_closed(ACT_SECS), "it was not heard: a wrong seal?"
            tries.judge(*await changed(scene, to, before[to]))
    for to, facts_before in before.items():
        tries.judge(*await changed(scene, to, facts_before))


def _said(term: int) -> Iterator[bytes]:
    yield from _requests()
    high = term + TERM_LEAP
    for message in (
        messages.Append(high, 0, 0, 0, 0, 0, [(high, b"\0made up")]),
        messages.Heartbeat(high, 0, 1, 0, FAR, 0, 0, 0),
        messages.Newer(high, 0),
        messages.Vote(high, 0, FAR, high),
        messages.PreVote(term, 0, term + 1, FAR, high),
        messages.TimeoutNow(high, 0, 0),
        messages.Resigned(high, 0),
        messages.Diverged(high, 0, 1),
    ):
        yield RAFT + messages.encode(message)
    begin = snapshots.Begin(snapshots.Stream(high, 1), snapshots.FORMAT, FAR, (high, high), 0)
    yield SNAPSHOT + snapshots.encode(begin)
    yield NOTE + msgpack.packb(Note("a:1", "", high, 1, 1, 1, 1, "9", 99, 99, 99))
    for members in ([WEB], ["n1"], ["n1", "n2", "n3", WEB]):
        letter = MemberLetter("127.0.0.1:1", FAR, members)
        yield MEMBERS + member_letters.encode(letter)
    for founding in (
        founding_letters.Formed("f" * 32, {WEB: "d"}),
        founding_letters.Prepare("f" * 32, ("n1", "n2", "n3")),
    ):
        yield FOUNDING + founding_letters.encode(founding)


def _requests() -> Iterator[bytes]:
    pack = make_pack()
    wanted: list[Any] = [
        commands.CreateQueue("made-by-a-guest"),
        commands.SubmitTask(os.urandom(16), "made-by-a-guest"),
        commands.AddMember(WEB, "127.0.0.1:1"),
        commands.RemoveMember("n1"),
        commands.RemoveMember("n3"),
        commands.TransferLeadership("n2"),
    ]
    for number, command in enumerate(wanted):
        frame = encode_request(pack, command, 1, 5000)
        yield FORWARD + pack_requests(number, 0, [], [frame])
