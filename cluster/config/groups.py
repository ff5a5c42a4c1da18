"""The groups of keys: names, defaults, ranges and what each key does. Nothing but data.

A text for people stands beside each key: mistakes, `taskq config` and the example file quote it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cluster.config.fields import PORT_MAX, Number, Size, Whole, count, flag, port, size, span, text
from taskq import limits

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
DAY_SECS = 86_400
DAYS_MAX = limits.DURATION_MS_MAX // 1000 // DAY_SECS
# What fits one frame beside ids, names and headers.
CONTENT_SIZE_MAX = limits.FRAME_SIZE_MAX - limits.FRAME_MARGIN


def _not_empty(value: Any) -> Any:
    # Path("") is the working directory: an empty text must not become that silently.
    if value == "":
        raise ValueError("empty")
    return value


def _with_port(value: str) -> str:
    if not 1 <= int(value.rpartition(":")[2]) <= PORT_MAX:
        raise ValueError("not a port")
    return value


# Patterns are those of Rust's regex crate, where `$` is the very end, never before a line feed.
Name = Annotated[str, Field(pattern=f"^{limits.NAME_PATTERN}$")]
Host = Annotated[str, Field(pattern=r"^[^\s/]{1,255}$")]
Address = Annotated[
    str,
    Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]{1,255}):[0-9]{1,5}$"),
    AfterValidator(_with_port),
]
FilePath = Annotated[Path, BeforeValidator(_not_empty)]
A_HOST = "a host name or an address"
AN_ADDRESS = "HOST:PORT, an IPv6 address in brackets"
A_FILE = "the path of a PEM file"


class Group(BaseModel):
    """One group of keys: frozen, and every key known."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Broker(Group):
    """The port that clients and workers use, and what it takes on."""

    host: Host = text("0.0.0.0", "Address to listen on; 0.0.0.0 is every interface.", A_HOST)
    port: Whole = port(6379, "Port for clients and workers.")
    advertise: Address | None = text(
        None, "Address told to clients, where it differs from host and port.", AN_ADDRESS
    )
    max_connections: Whole = count(
        1000, "Connections at once; more are refused with TOO_MANY_CONNECTIONS.", 1, 1_000_000
    )
    max_requests_in_flight: Whole = count(
        1024, "Unanswered requests of one connection; beyond it the node stops reading.", 1, 65_536
    )
    max_bytes_in_flight: Size = size(
        64 * MIB,
        "Unanswered requests and unread answers of one connection, in bytes; one request"
        " is always taken.",
        64 * KIB,
        GIB,
    )
    connection_timeout_secs: Number = span(
        30, "A connection without a frame (pings count) is closed.", 1, DAY_SECS, "seconds"
    )
    queue_depth_threshold: Whole = count(
        100_000,
        "Tasks waiting on this broker (ready, scheduled, retrying); beyond it QUEUE_FULL.",
        1,
        1_000_000_000,
    )
    queue_bytes_threshold: Size = size(
        GIB, "The same in bytes of what is waiting.", 64 * KIB, 1024 * TIB
    )
    worker_lease_timeout_secs: Number = span(
        30,
        "Lease of a claimed task, where neither queue nor claim names one.",
        limits.LEASE_MS_MIN / 1000,
        limits.LEASE_MS_MAX / 1000,
        "seconds",
    )
    max_batch_claim: Whole = count(
        10, "Tasks handed out by one claim, at most.", 1, limits.CLAIM_COUNT_MAX
    )
    max_lease_expiries: Whole = count(
        5, "Lease expiries and worker deaths of a task; past it the task is dead.", 0, 1000
    )
    payload_size_max: Size = size(
        MIB, "Largest payload of a task; larger is PAYLOAD_TOO_LARGE.", 1, CONTENT_SIZE_MAX
    )
    result_size_max: Size = size(
        MIB, "Largest result of a task; larger is RESULT_TOO_LARGE.", 1, CONTENT_SIZE_MAX
    )


class Persistence(Group):
    """The disk: where, how safe, how long."""

    data_dir: FilePath = text(
        Path("./data"), "Folder of this node's data; made if missing.", "a path"
    )
    durability: Literal["fsync", "interval"] = text(
        "fsync",
        "fsync: on disk before any acknowledgement. interval: acknowledged up to"
        " wal_sync_interval_ms before; a crash or a power cut may lose that.",
        "fsync or interval",
    )
    wal_sync_interval_ms: Whole = count(
        100, "Longest wait for the disk with durability interval.", 1, 10_000, "milliseconds"
    )
    completed_task_retention_days: Number = span(
        7, "How long ended tasks and their results are kept.", 0, DAYS_MAX, "days"
    )
    retention_max_bytes: Size = size(
        GIB, "Ended tasks kept at most; the oldest go first.", 0, 1024 * TIB
    )
    dead_letter_retention_days: Number = span(
        30, "How long dead letters are kept.", 0, DAYS_MAX, "days"
    )
    dead_letter_max_bytes: Size = size(
        GIB, "Dead letters kept at most; the oldest go first, after a warning.", 0, 1024 * TIB
    )
    dedup_window_secs: Number = span(
        600,
        "A repeat of an ended task's id is recognised at least this long.",
        0,
        DAYS_MAX * DAY_SECS,
        "seconds",
    )
    checkpoint_log_bytes: Size = size(
        64 * MIB, "Bytes in the log that cause a checkpoint.", 64 * KIB, 64 * GIB
    )
    disk_reserve_bytes: Size = size(
        256 * MIB,
        "Free space below which what grows is refused; completions and expiry go on.",
        0,
        TIB,
    )
    auto_compact: bool = flag(True, "Give the space of deleted tasks back to the disk.")
    compact_interval_secs: Number = span(
        3600, "Time between two such compactions.", 1, 365 * DAY_SECS, "seconds"
    )


class Api(Group):
    """HTTP and gRPC, and TLS on the ports that clients use."""

    rest_port: Whole = port(8080, "Port of the REST interface.")
    grpc_port: Whole = port(9090, "Port of the gRPC interface.")
    enable_tls: bool = flag(
        False, "TLS (1.2 or 1.3) on the ports that clients use; nothing in the clear is answered."
    )
    cert_file: FilePath | None = text(
        None,
        "Certificate shown to clients, with what leads to its authority behind it. Files of this"
        " group are taken over without a restart when they change.",
        A_FILE,
    )
    key_file: FilePath | None = text(
        None, "Private key of that certificate, not encrypted.", A_FILE
    )
    client_ca_file: FilePath | None = text(
        None,
        "Authority that must have signed a client's certificate; without it no client needs one.",
        A_FILE,
    )


class ApiKey(Group):
    """One credential: the hash of a key, what it may do, and on which queues (a pattern of `*`, `?`
    and `[...]`; case counts). `name` is for logs."""

    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", repr=False)] = text(
        ..., "What is kept of the key.", "sha256: and 64 hex digits"
    )
    role: Literal["producer", "worker", "admin"] = text(
        ..., "What it may do.", "producer, worker or admin"
    )
    queues: Annotated[str, Field(min_length=1, max_length=200)] = text(
        "*", "On which queues.", "a pattern of 1 to 200 characters"
    )
    name: Name | None = text(None, "What logs call it.", "1 to 64 of A-Z a-z 0-9 . _ -")

    @property
    def label(self) -> str:
        """What logs call it: its name, else the beginning of its hash, which leads nowhere."""
        return self.name or self.hash[: len("sha256:") + 8]

    def grants_as(self, other: ApiKey) -> bool:
        """Whether both are the same key with the same rights, whatever they are called."""
        return (self.hash, self.role, self.queues) == (other.hash, other.role, other.queues)


class Auth(Group):
    """Who may do what."""

    enabled: bool = flag(False, "Demand an API key from every client.")
    api_keys: tuple[ApiKey, ...] = text(
        (),
        "The keys: hash (sha256: and 64 hex digits), role (producer, worker, admin), queues"
        " (a pattern, default *), name (for logs). `taskq keys create` makes one. Taken over"
        " without a restart when the file changes.",
        "a list of keys, each with hash (sha256: and 64 hex digits), role (producer, worker or"
        " admin), queues (a pattern) and name (for logs; 1 to 64 of A-Z a-z 0-9 . _ -)",
    )


class Monitoring(Group):
    """What the node says about itself."""

    host: Host | None = text(
        None, "Address that the port below listens on, where it is not broker.host.", A_HOST
    )
    prometheus_port: Whole = port(9091, "Port of the metrics, at /metrics, and of the probes.")
    enable_tls: bool = flag(
        False, "HTTPS on that port, with the certificate of api; probes need none of their own."
    )
    log_level: Literal["debug", "info", "warning", "error"] = text(
        "info", "The least important lines that are logged.", "debug, info, warning or error"
    )
    stall_limit_secs: Number = span(
        30,
        "A node whose disk or applied entries stand still for so long, though they could move,"
        " fails /livez.",
        1,
        DAY_SECS,
        "seconds",
    )
    json_logging: bool = flag(True, "One JSON object per log line; else text for people.")


class Worker(Group):
    """What `taskq worker` does where nothing else is said."""

    concurrency: Whole = count(4, "Tasks run at once.", 1, 10_000)
    heartbeat_interval_secs: Number = span(
        15, "Time between heartbeats; less when a lease is short.", 0.1, 3600, "seconds"
    )
    graceful_shutdown_timeout_secs: Number = span(
        60, "Time for running tasks to end after a stop signal.", 0, DAY_SECS, "seconds"
    )
    max_inactivity_secs: Number = span(
        60,
        "A worker without contact for that long stops its tasks and exits.",
        1,
        DAY_SECS,
        "seconds",
    )
