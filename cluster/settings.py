"""What the configuration means for the replicated state and the disk: plain translations."""

from __future__ import annotations

from cluster.config import Config
from cluster.replication.core import DiskPolicy
from taskq.machine.settings import Settings

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
