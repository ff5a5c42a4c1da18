"""The table's rows: what is tried, against which form of the cluster, and what it may cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from chaos.attack import crowds, doors, guests, keys, noise, peers, queues
from chaos.attack.scene import Scene
from chaos.attack.tries import Tries


class Row(NamedTuple):
    """`name` and `what` for the table. `waits`: it mostly waits for time-outs, so that a short run
    does it beside others. `memory_mib`: what a node may hold more than before while it goes on,
    beyond what its work for the bystander takes."""

    name: str
    what: str
    attack: Callable[[Scene, Tries], Awaitable[None]]
    tls: bool = False
    waits: bool = False
    memory_mib: int = 64


ROWS = (
    Row("no key", "Hello without a key; requests before, behind or instead of Hello", keys.no_key),
    Row("wrong key", "nearly right ones, hashes, random ones", keys.wrong_key),
    Row("revoked key", "sessions that were open, claims that waited, new Hellos", keys.revoked_key),
    Row("role too small", "every request that the role does not have", keys.small_role),
    Row(
        "another queue",
        "by name, in batches and lists, by task id, token and worker",
        queues.other_queue,
    ),
    Row("unknown peer", "on the Raft port: no secret, wrong ones, any name", peers.unknown_peer),
    Row("replayed handshake", "recorded, recombined, reflected", peers.replayed_challenges),
    Row(
        "mad peer",
        "has the secret, says what no node says: noise, bombs, 30 MiB, wrong seals",
        peers.mad_peer,
        memory_mib=256,
    ),
    Row("oversized frames", "before any proof, up to 4 GiB", noise.oversized_frames),
    Row(
        "memory bombs",
        "msgpack: deep, wide, lengths that lie; strangers and insiders",
        noise.memory_bombs,
        memory_mib=192,
    ),
    Row("hostile pickles", "in 260 wrappings, on every port, as payloads", noise.hostile_pickles),
    Row("misused HTTP", "paths, methods, endless heads, half requests", crowds.http),
    Row("random bytes", "on every port, behind good beginnings", noise.random_bytes),
    Row("slow frames", "a byte now and then, on every port", noise.slow_frames, waits=True),
    Row("a crowd", "connections that say nothing", crowds.crowd, waits=True, memory_mib=128),
    Row("plaintext", "with a good key, on ports that speak TLS", doors.plaintext, tls=True),
    Row(
        "foreign certificate",
        "none, another authority's, expired, a node's; the right one without a key",
        doors.client_certificates,
        tls=True,
    ),
    Row(
        "false node",
        "on the Raft port: no certificate, another authority's, a client's, another node's; no"
        " node's, which says all that nodes say",
        guests.false_nodes,
        tls=True,
    ),
    Row(
        "slow handshakes",
        "TLS records that come byte by byte, or never, on every port",
        noise.slow_handshakes,
        tls=True,
        waits=True,
    ),
)
