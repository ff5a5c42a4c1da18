"""What a node is told about its group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.replication.peers.trust import Trust


@dataclass(frozen=True)
class GroupSettings:
    """`members`: the founding members, node id -> "host:port" of the Raft port, this node among
    them. `host`, `port`: where this node listens for the others (port 0: a free one).

    A leader that was silent for `election_timeout_secs` is replaced; it gives a sign of life every
    `heartbeat_secs`.
    """

    node_id: str
    members: Mapping[str, str]
    host: str
    port: int
    trust: Trust
    election_timeout_secs: float = 1.0
    heartbeat_secs: float = 0.3
