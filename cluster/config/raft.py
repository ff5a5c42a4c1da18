"""The group `raft`: who the members are, how they trust each other, how long they wait."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

from cluster.config.fields import PORT_MAX, Number, Whole, count, flag, port, span, text
from cluster.config.groups import (
    A_FILE,
    AN_ADDRESS,
    DAY_SECS,
    Address,
    FilePath,
    Group,
    Host,
    Name,
)

A_PEER = "NODE_ID=HOST:PORT"


class Peer(Group):
    """Another member of the group: its id and where its Raft port is."""

    node_id: Name
    host: Host
    port: Annotated[int, Field(ge=1, le=PORT_MAX)]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.node_id}={host}:{self.port}"


def _as_peer(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    node_id, equals, address = value.strip().partition("=")
    host, colon, port_text = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (equals and colon and port_text.isascii() and port_text.isdigit()):
        raise ValueError(f"not {A_PEER}")
    return {"node_id": node_id, "host": host, "port": int(port_text)}


def _as_list(value: Any) -> Any:
    # From the environment or the command line: one text with commas.
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Raft(Group):
    """The group of brokers that agree. Without it a broker is a group of one."""

    enabled: bool = flag(
        False, "Be a member of the cluster of peers; without it a durable group of one."
    )
    node_id: Name = text(
        "node1", "Name of this node; never given to another.", "1 to 64 of A-Z a-z 0-9 . _ -"
    )
    port: Whole = port(6380, "Port for the other nodes.")
    advertise: Address | None = text(
        None, "Address told to the other nodes, where it differs from host and port.", AN_ADDRESS
    )
    peers: Annotated[
        tuple[Annotated[Peer, BeforeValidator(_as_peer)], ...], BeforeValidator(_as_list)
    ] = text(
        (),
        "All members, or those that found the cluster; this node may be listed, too.",
        f"a list of {A_PEER}, such as node2=10.0.0.2:6380",
    )
    secret: Annotated[SecretStr, Field(min_length=16)] | None = text(
        None, "Shared by all nodes, where there are no certificates.", "at least 16 characters"
    )
    cert_file: FilePath | None = text(None, "Certificate of this node for the Raft port.", A_FILE)
    key_file: FilePath | None = text(None, "Private key of that certificate.", A_FILE)
    ca_file: FilePath | None = text(None, "Authority that signed all nodes' certificates.", A_FILE)
    election_timeout_ms: Whole = count(
        1000, "Silence of the leader after which another is elected.", 100, 60_000, "milliseconds"
    )
    heartbeat_interval_ms: Whole = count(
        300, "Time between two signs of life of the leader.", 10, 30_000, "milliseconds"
    )
    snapshot_interval_secs: Number = span(
        300, "Time between two checkpoints, if the log was written.", 1, DAY_SECS, "seconds"
    )

    @property
    def others(self) -> tuple[Peer, ...]:
        """The peers but for this node."""
        return tuple(peer for peer in self.peers if peer.node_id != self.node_id)
