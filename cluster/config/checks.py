"""What no key can tell by itself: contradictions, open doors, and what this version lacks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cluster.config.mistakes import Mistake

if TYPE_CHECKING:
    from cluster.config.model import Config


def cross_check(config: Config) -> list[Mistake]:
    """Every contradiction between keys that are valid by themselves."""
    checks = (_ports, _raft, _raft_door, _members, _api, _auth, _worker)
    return [mistake for check in checks for mistake in check(config)]


def is_open(host: str) -> bool:
    """Whether other machines can reach a port bound to `host`; an unknown name counts as open."""
    if host.lower() == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def _ports(config: Config) -> Iterator[Mistake]:
    # Those that are not served yet cannot clash; 0 is a free port, so never the same.
    ports = {
        "broker.port": config.broker.port,
        "monitoring.prometheus_port": config.monitoring.prometheus_port,
    }
    if config.raft.enabled:
        ports["raft.port"] = config.raft.port
    taken: dict[int, str] = {}
    for path, number in ports.items():
        if number and number in taken:
            reason = f"the same port as {taken[number]}; each needs its own"
            yield Mistake(path, reason, paths=(path, taken[number], "raft.enabled"))
        taken.setdefault(number, path)


def _raft(config: Config) -> Iterator[Mistake]:
    raft = config.raft
    if raft.peers and not raft.enabled:
        reason = "peers need raft.enabled: true; a group of one has none"
        yield Mistake("raft.peers", reason, paths=("raft.peers", "raft.enabled"))
    if raft.enabled and not raft.peers:
        reason = (
            "needed with raft.enabled: true: the founding members, such as"
            " node1=10.0.0.1:6380, node2=10.0.0.2:6380, node3=10.0.0.3:6380"
        )
        yield Mistake("raft.peers", reason, paths=("raft.peers", "raft.enabled"))
    if raft.enabled and raft.others and not raft.port:
        reason = "must be one that the peers can know: it is part of their raft.peers"
        yield Mistake("raft.port", reason, paths=("raft.port", "raft.enabled", "raft.peers"))
    if raft.heartbeat_interval_ms * 2 > raft.election_timeout_ms:
        yield Mistake(
            "raft.heartbeat_interval_ms",
            "at most half of raft.election_timeout_ms"
            f" ({raft.election_timeout_ms}), or one lost heartbeat deposes the leader",
            paths=("raft.heartbeat_interval_ms", "raft.election_timeout_ms"),
        )


def _raft_door(config: Config) -> Iterator[Mistake]:
    raft = config.raft
    files = (raft.cert_file, raft.key_file, raft.ca_file)
    paths = ("raft.cert_file", "raft.key_file", "raft.ca_file")
    if any(files) and not all(files):
        missing = [path for path, file in zip(paths, files, strict=True) if not file]
        reason = "needed with the other certificate files of this group"
        yield Mistake(missing[0], reason, paths=paths)
    if raft.enabled and is_open(config.broker.host) and not (any(files) or raft.secret):
        yield Mistake(
            "raft.enabled",
            f"the Raft port would be open to strangers on broker.host {config.broker.host}: set"
            " raft.cert_file, raft.key_file and raft.ca_file, or raft.secret, or listen on"
            " 127.0.0.1",
            paths=("raft.enabled", "broker.host", "raft.secret", *paths),
        )


def _members(config: Config) -> Iterator[Mistake]:
    names: set[str] = set()
    addresses: set[tuple[str, int]] = set()
    for peer in config.raft.peers:
        if peer.node_id in names:
            yield Mistake("raft.peers", f"{peer.node_id} is listed twice", paths=("raft.peers",))
        elif (peer.host, peer.port) in addresses:
            reason = f"{peer.host}:{peer.port} is listed for two nodes"
            yield Mistake("raft.peers", reason, paths=("raft.peers",))
        names.add(peer.node_id)
        addresses.add((peer.host, peer.port))


def _api(config: Config) -> Iterator[Mistake]:
    api = config.api
    for path, file in (("api.cert_file", api.cert_file), ("api.key_file", api.key_file)):
        if api.enable_tls and not file:
            yield Mistake(path, "needed with api.enable_tls: true", paths=(path, "api.enable_tls"))
    if not api.enable_tls and (api.cert_file or api.key_file or api.client_ca_file):
        # A certificate without TLS is a forgotten switch: serving in the clear would hide it.
        yield Mistake(
            "api.enable_tls",
            "must be true where certificate files are set",
            paths=("api.enable_tls", "api.cert_file", "api.key_file", "api.client_ca_file"),
        )
    if config.monitoring.enable_tls and not api.enable_tls:
        yield Mistake(
            "monitoring.enable_tls",
            "needs api.enable_tls: true and its certificate",
            paths=("monitoring.enable_tls", "api.enable_tls"),
        )


def _auth(config: Config) -> Iterator[Mistake]:
    auth = config.auth
    paths = ("auth.enabled", "auth.api_keys")
    if auth.enabled and not auth.api_keys:
        yield Mistake("auth.api_keys", "auth.enabled: true needs at least one key", paths=paths)
    if auth.api_keys and not auth.enabled:
        yield Mistake("auth.enabled", "must be true where auth.api_keys are set", paths=paths)
    hashes = [key.hash for key in auth.api_keys]
    for position, key in enumerate(auth.api_keys):
        if key.hash in hashes[:position]:
            reason = f"the same key as [{hashes.index(key.hash)}], whose rights would count"
            yield Mistake(f"auth.api_keys[{position}]", reason, paths=("auth.api_keys",))


def _worker(config: Config) -> Iterator[Mistake]:
    worker = config.worker
    if worker.heartbeat_interval_secs * 2 > worker.max_inactivity_secs:
        yield Mistake(
            "worker.heartbeat_interval_secs",
            "at most half of worker.max_inactivity_secs"
            f" ({worker.max_inactivity_secs:g}), or one lost heartbeat stops the worker",
            paths=("worker.heartbeat_interval_secs", "worker.max_inactivity_secs"),
        )


def warnings_of(config: Config) -> list[str]:
    """What is allowed but leaves a door open, one sentence each."""
    found: list[str] = []
    host = config.broker.host
    if is_open(host) and not config.auth.enabled:
        found.append(
            f"Anyone who reaches {host}:{config.broker.port} can submit and take tasks: set"
            " auth.enabled and auth.api_keys, or listen on 127.0.0.1 (broker.host)."
        )
    if is_open(host) and config.auth.enabled and not config.api.enable_tls:
        found.append(
            f"API keys travel to {host}:{config.broker.port} in clear text: set api.enable_tls,"
            " api.cert_file and api.key_file."
        )
    if config.raft.enabled and len(config.raft.others) == 1:
        found.append(
            "raft.peers makes a cluster of two nodes, which stops when one of them does: three go"
            " on without one."
        )
    if config.persistence.durability == "interval":
        found.append(
            "persistence.durability is interval: a crash or a power cut may lose what was"
            f" acknowledged in the last {config.persistence.wal_sync_interval_ms} ms."
        )
    return found


# Keys without effect in this version. Remove one with the change that serves it.
NOT_SERVED_YET = ("api.rest_port", "api.grpc_port")
