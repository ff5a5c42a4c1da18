"""What the configuration means for the replicated state, the disk and the group: translations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.config import Config, Peer
from cluster.config.raft import Raft
from cluster.replication.core import DiskPolicy
from cluster.replication.group_settings import GroupSettings
from cluster.replication.peers.trust import (
    Trust,
    trust_certificates,
    trust_loopback,
    trust_secret,
)
from taskq.machine.settings import Settings

if TYPE_CHECKING:
    from cluster.certificates.port_certificates import PortCertificates

_DAY_MS = 86_400_000


def settings_of(config: Config) -> Settings:
    """The limits that the leader replicates."""
    broker, persistence = config.broker, config.persistence
    return Settings(
        queue_depth_threshold=broker.queue_depth_threshold,
        queue_bytes_threshold=broker.queue_bytes_threshold,
        lease_ms=round(broker.worker_lease_timeout_secs * 1000),
        max_lease_expiries=broker.max_lease_expiries,
        max_batch_claim=broker.max_batch_claim,
        payload_size_max=broker.payload_size_max,
        result_size_max=broker.result_size_max,
        retention_ms=round(persistence.completed_task_retention_days * _DAY_MS),
        retention_size_max=persistence.retention_max_bytes,
        dead_retention_ms=round(persistence.dead_letter_retention_days * _DAY_MS),
        dead_size_max=persistence.dead_letter_max_bytes,
        dedup_window_ms=round(persistence.dedup_window_secs * 1000),
    )


def disk_policy_of(config: Config) -> DiskPolicy:
    """How the log and the state are written."""
    persistence = config.persistence
    interval = persistence.durability == "interval"
    return DiskPolicy(
        sync_interval_secs=persistence.wal_sync_interval_ms / 1000 if interval else 0.0,
        checkpoint_interval_secs=config.raft.snapshot_interval_secs,
        checkpoint_size=persistence.checkpoint_log_bytes,
    )


def group_of(config: Config) -> GroupSettings | None:
    """The group that this node is a member of; None for a group of one.

    Raises CertificatesRefused.
    """
    raft, host = config.raft, config.broker.host
    if not raft.enabled:
        return None
    members = {peer.node_id: _address(peer) for peer in raft.peers}
    if raft.advertise is not None:
        members[raft.node_id] = raft.advertise
    elif raft.node_id not in members:
        # Nobody dials itself: it only has to be an address.
        members[raft.node_id] = _address(Peer(node_id=raft.node_id, host=host, port=raft.port or 1))
    return GroupSettings(
        node_id=raft.node_id,
        members=members,
        host=host,
        port=raft.port,
        trust=_trust_of(raft),
        election_timeout_secs=raft.election_timeout_ms / 1000,
        heartbeat_secs=raft.heartbeat_interval_ms / 1000,
    )


def _address(peer: Peer) -> str:
    return str(peer).partition("=")[2]


def _trust_of(raft: Raft) -> Trust:
    """Certificates where there are some, else the secret, else that only this machine gets in:
    the checks of the configuration saw to it that one of them fits `broker.host`."""
    if raft.cert_file and raft.key_file and raft.ca_file:
        files = raft.cert_file, raft.key_file, raft.ca_file
        return trust_certificates(*files, node_id=raft.node_id)
    if raft.secret is not None:
        return trust_secret(raft.secret.get_secret_value())
    return trust_loopback()


def api_certificates_of(config: Config) -> PortCertificates | None:
    """What the ports for clients show; None where they speak in the clear.

    Raises CertificatesRefused.
    """
    api = config.api
    if not (api.enable_tls and api.cert_file and api.key_file):
        return None
    from cluster.certificates.port_certificates import PortCertificates, PortFiles

    ca = api.client_ca_file
    files = PortFiles("api", api.cert_file, api.key_file, ca, ca_key="client_ca_file")
    return PortCertificates(files, dials=False)
