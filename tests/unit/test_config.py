"""The configuration: precedence, every mistake at once, contradictions, and what people see."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.config import (
    Config,
    ConfigError,
    effective,
    load_config,
    reference,
)
from cluster.config.checks import is_open
from cluster.config.load import load_layers
from cluster.config.model import groups, keys
from cluster.config.page import example_yaml
from cluster.config.sources import parse_yaml
from cluster.config.units import format_size, parse_size

DOCS = Path(__file__).parents[2] / "docs"
A_HASH = "sha256:" + "ab" * 32
LOCAL = {"broker.host": "127.0.0.1"}


def load(
    text: str = "",
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    return load_layers(parse_yaml(text, "taskq.yaml"), env or {}, overrides or {})


def mistakes(*args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(*args, **kwargs)
    return [str(mistake) for mistake in raised.value.mistakes]


DEFAULTS = {
    "broker.host": "0.0.0.0",
    "broker.port": 6379,
    "broker.max_connections": 1000,
    "broker.queue_depth_threshold": 100_000,
    "broker.queue_bytes_threshold": 2**30,
    "broker.worker_lease_timeout_secs": 30,
    "broker.max_batch_claim": 10,
    "broker.max_lease_expiries": 5,
    "broker.payload_size_max": 2**20,
    "broker.result_size_max": 2**20,
    "broker.max_requests_in_flight": 1024,
    "broker.max_bytes_in_flight": 64 * 2**20,
    "broker.connection_timeout_secs": 30,
    "persistence.data_dir": Path("data"),
    "persistence.durability": "fsync",
    "persistence.wal_sync_interval_ms": 100,
    "persistence.completed_task_retention_days": 7,
    "persistence.retention_max_bytes": 2**30,
    "persistence.dedup_window_secs": 600,
    "persistence.auto_compact": True,
    "persistence.compact_interval_secs": 3600,
    "persistence.disk_reserve_bytes": 256 * 2**20,
    "persistence.checkpoint_log_bytes": 64 * 2**20,
    "raft.enabled": False,
    "raft.node_id": "node1",
    "raft.port": 6380,
    "raft.peers": (),
    "raft.election_timeout_ms": 1000,
    "raft.heartbeat_interval_ms": 300,
    "raft.snapshot_interval_secs": 300,
    "api.rest_port": 8080,
    "api.grpc_port": 9090,
    "api.enable_tls": False,
    "auth.enabled": False,
    "auth.api_keys": (),
    "monitoring.host": None,
    "monitoring.prometheus_port": 9091,
    "monitoring.enable_tls": False,
    "monitoring.log_level": "info",
    "monitoring.stall_limit_secs": 30,
    "monitoring.json_logging": True,
    "worker.concurrency": 4,
    "worker.heartbeat_interval_secs": 15,
    "worker.graceful_shutdown_timeout_secs": 60,
    "worker.max_inactivity_secs": 60,
}


@pytest.mark.parametrize("path", DEFAULTS)
def test_default(path: str) -> None:
    group, _, key = path.partition(".")
    assert getattr(getattr(load(), group), key) == DEFAULTS[path]


def test_a_node_starts_from_nothing() -> None:
    assert load() == Config()


def test_later_sources_win() -> None:
    text = "broker:\n  port: 1001\n  max_connections: 11\n  max_batch_claim: 21\n"
    env = {"TASKQ_BROKER__PORT": "1002", "taskq_broker__max_connections": "12"}
    config = load(text, env, {"broker.port": 1003, "broker.max_batch_claim": None})
    assert config.broker.port == 1003
    assert config.broker.max_connections == 12
    assert config.broker.max_batch_claim == 21
    assert config.source("broker.port") == "command line"
    assert config.source("broker.max_connections") == (
        "environment variable taskq_broker__max_connections"
    )
    assert config.source("broker.max_batch_claim") == "taskq.yaml line 4"
    assert config.source("broker.host") == "default"


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().broker.port = 1  # type: ignore[misc]


def test_all_mistakes_in_one_message() -> None:
    text = "broker:\n  port: 99999\n  prot: 1\nperistence:\n  data_dir: x\n"
    env = {"TASKQ_RAFT__NODE_ID": "a b", "TASKQ_MONITORING__LOG_LEVEL": "loud"}
    with pytest.raises(ConfigError) as raised:
        load(text, env, {"worker.concurrency": 0, "api.data_dir": "x"})
    assert str(raised.value).splitlines() == [
        "The configuration has 7 mistakes:",
        "  broker.prot (taskq.yaml line 3): unknown key; did you mean broker.port?",
        "  peristence.data_dir (taskq.yaml line 5): unknown group; did you mean"
        " persistence.data_dir?",
        "  api.data_dir (command line): unknown key; did you mean persistence.data_dir?",
        "  broker.port = 99999 (taskq.yaml line 2): allowed is a port from 1 to 65535, or 0 for"
        " any free one",
        "  raft.node_id = a b (environment variable TASKQ_RAFT__NODE_ID): allowed is 1 to 64 of"
        " A-Z a-z 0-9 . _ -",
        "  monitoring.log_level = loud (environment variable TASKQ_MONITORING__LOG_LEVEL): allowed"
        " is debug, info, warning or error",
        "  worker.concurrency = 0 (command line): allowed is a whole number from 1 to 10000",
    ]


BAD = [
    ("broker.port", True),
    ("broker.port", -1),
    ("broker.port", 65536),
    ("broker.port", "http"),
    ("broker.port", 1.5),
    ("broker.port", None),
    ("broker.port", [1]),
    ("broker.host", ""),
    ("broker.host", "a b"),
    ("broker.host", "host\n"),
    ("broker.host", 5),
    ("monitoring.host", ""),
    ("monitoring.host", "a b"),
    ("broker.advertise", "host"),
    ("broker.advertise", "host:0"),
    ("broker.advertise", "host:99999"),
    ("broker.advertise", "::1:6379"),
    ("broker.max_connections", 0),
    ("broker.max_bytes_in_flight", "1XiB"),
    ("broker.max_bytes_in_flight", True),
    ("broker.max_bytes_in_flight", -1),
    ("broker.payload_size_max", "16MiB"),
    ("broker.worker_lease_timeout_secs", 0.5),
    ("broker.worker_lease_timeout_secs", ".nan"),
    ("broker.worker_lease_timeout_secs", float("nan")),
    ("broker.worker_lease_timeout_secs", float("inf")),
    ("broker.worker_lease_timeout_secs", True),
    ("persistence.data_dir", ""),
    ("persistence.durability", "none"),
    ("persistence.auto_compact", "perhaps"),
    ("raft.node_id", "n" * 65),
    ("raft.node_id", "node1\n"),
    ("raft.peers", "node2"),
    ("raft.peers", ["node2=host:0"]),
    ("raft.peers", ["node2=::1:6380"]),
    ("raft.peers", ["=host:6380"]),
    ("raft.peers", 5),
    ("raft.secret", "short"),
    ("raft.cert_file", ""),
    ("auth.api_keys", [{"hash": "secret", "role": "admin"}]),
    ("auth.api_keys", [{"hash": A_HASH, "role": "root"}]),
    ("auth.api_keys", [{"hash": A_HASH, "role": "admin", "queue": "x"}]),
]


@pytest.mark.parametrize(("path", "value"), BAD)
def test_refused(path: str, value: Any) -> None:
    group, _, key = path.partition(".")
    found = mistakes(yaml.safe_dump({group: {key: value}}))
    assert len(found) == 1
    assert found[0].startswith(path)
    assert "allowed is" in found[0]


def test_every_key_says_what_is_allowed_and_refuses_something() -> None:
    for path in keys():
        found = mistakes(overrides={path: {"a": object()}})
        assert [entry.startswith(path) for entry in found] == [True], found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "must hold groups"),
        ("broker: 5\n", "broker = 5 (taskq.yaml line 1): is a group"),
        ("brokr: 5\n", "unknown group; did you mean broker?"),
        (
            "broker:\n  port: 1\n  port: 2\n",
            "(taskq.yaml line 3): set before in line 2",
        ),
        ("broker: {port: 1}\nbroker: {host: a}\n", "set before in line 1"),
        ("broker: [\n", "file taskq.yaml line 2: is not valid YAML"),
        ("a: &a [*a]\n", "recursive"),
        ("broker:\n  ? [x]\n  : 1\n", "has a key that is not a word"),
        ("broker: !!python/object:os.system {}\n", "is not valid YAML"),
        ("broker:\n  port: !!python/name:os.system\n", "is not valid YAML"),
        ("broker:\n  host: 2026-13-45\n", "holds a value that is none"),
        ("broker:\n  host: \x00\n", "is not valid YAML"),
        ("[" * 2000, "taskq.yaml"),
    ],
)
def test_bad_files(text: str, words: str) -> None:
    found = mistakes(text)
    assert words in found[0], found


def test_empty_groups_and_files_set_nothing() -> None:
    assert load("") == load("broker:\n") == load("# only a comment\n") == Config()


def test_environment_leaves_other_names_alone() -> None:
    env = {"TASKQ_URL": "taskq://x", "TASKQ_BROKER_PORT": "tcp://10.0.0.1:6379", "PATH__X": "1"}
    config = load(env=env)
    assert config == Config()
    assert not any("TASKQ_" in warning for warning in config.warnings())


def test_environment_with_one_underscore_is_noticed() -> None:
    warnings = load(env={"TASKQ_AUTH_ENABLED": "true"}).warnings()
    assert any("did you mean TASKQ_AUTH__ENABLED?" in warning for warning in warnings)


def test_environment_with_two_underscores_at_the_front_is_refused() -> None:
    (found,) = mistakes(env={"TASKQ__BROKER__PORT": "7000"})
    assert "TASKQ__BROKER__PORT" in found
    assert found.endswith("did you mean broker.port?")
    assert "TASKQ__X" in mistakes(env={"TASKQ__X": "1"})[0]


def test_a_key_without_its_group_is_told_where_it_belongs() -> None:
    assert "did you mean broker.port or raft.port?" in mistakes("port: 7000\n")[0]
    assert "did you mean persistence.data_dir?" in mistakes(overrides={"data_dir": "x"})[0]


def test_lists_on_the_command_line_are_read_as_in_the_environment() -> None:
    keys_text = f"[{{hash: '{A_HASH}', role: worker}}]"
    config = load(overrides={"auth.enabled": "true", "auth.api_keys": keys_text})
    assert [key.role for key in config.auth.api_keys] == ["worker"]
    assert config.source("auth.api_keys") == "command line"


def test_environment_names_must_be_known_and_unique() -> None:
    assert "did you mean broker.port" in mistakes(env={"TASKQ_BROKER__PORTS": "1"})[0]
    assert "also set by" in mistakes(env={"TASKQ_RAFT__PORT": "1", "taskq_raft__port": "2"})[0]


def test_peers_from_file_and_environment() -> None:
    text = "raft:\n  enabled: true\n  peers: [node2=h2:6380, 'node3=[::1]:6380']\n"
    secret = {"raft.secret": "0123456789abcdef"}
    peers = load(text, overrides=secret).raft.peers
    assert [str(peer) for peer in peers] == ["node2=h2:6380", "node3=[::1]:6380"]
    env = {"TASKQ_RAFT__PEERS": "node1=h1:6380, node2=h2:6380", "TASKQ_RAFT__ENABLED": "true"}
    config = load(env=env, overrides=secret)
    assert [peer.node_id for peer in config.raft.peers] == ["node1", "node2"]
    assert [peer.node_id for peer in config.raft.others] == ["node2"]


def test_api_keys_from_the_environment() -> None:
    keys_text = f'[{{"hash": "{A_HASH}", "role": "worker", "queues": "mail.*"}}]'
    env = {"TASKQ_AUTH__ENABLED": "yes", "TASKQ_AUTH__API_KEYS": keys_text}
    (key,) = load(env=env).auth.api_keys
    assert key.role == "worker"
    assert (key.queues, key.name, key.label) == ("mail.*", None, A_HASH[:15])


GROUP = {"raft.enabled": True, "raft.peers": "b=h:1"}

CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"broker.port": 9091}, "monitoring.prometheus_port", "the same port as broker.port"),
    ({"raft.peers": "b=h:1"}, "raft.peers", "raft.enabled: true"),
    ({"raft.enabled": True, **LOCAL}, "raft.peers", "needed with raft.enabled: true"),
    ({**GROUP}, "raft.enabled", "open to strangers"),
    ({**GROUP, "raft.port": 6379, **LOCAL}, "raft.port", "the same port"),
    ({**GROUP, "raft.port": 0, **LOCAL}, "raft.port", "one that the peers can know"),
    ({"raft.enabled": True, "raft.peers": "b=h:1,b=g:1", **LOCAL}, "raft.peers", "twice"),
    ({"raft.enabled": True, "raft.peers": "b=h:1,c=h:1", **LOCAL}, "raft.peers", "two nodes"),
    ({"raft.heartbeat_interval_ms": 501}, "raft.heartbeat_interval_ms", "at most half"),
    ({"raft.election_timeout_ms": 500}, "raft.heartbeat_interval_ms", "at most half"),
    ({"raft.cert_file": "a", "raft.ca_file": "b"}, "raft.key_file", "needed"),
    ({"api.enable_tls": True, "api.cert_file": "a"}, "api.key_file", "needed"),
    ({"api.client_ca_file": "a"}, "api.enable_tls", "must be true"),
    ({"monitoring.enable_tls": True}, "monitoring.enable_tls", "needs api.enable_tls: true"),
    ({"auth.enabled": True}, "auth.api_keys", "at least one"),
    (
        {"auth.enabled": True, "auth.api_keys": [{"hash": A_HASH, "role": "admin"}] * 2},
        "auth.api_keys[1]",
        "the same key",
    ),
    (
        {"auth.api_keys": [{"hash": A_HASH, "role": "admin"}]},
        "auth.enabled",
        "must be true",
    ),
    ({"worker.heartbeat_interval_secs": 31}, "worker.heartbeat_interval_secs", "at most half"),
]


@pytest.mark.parametrize(("overrides", "path", "words"), CONTRADICTIONS)
def test_contradictions(overrides: dict[str, Any], path: str, words: str) -> None:
    found = mistakes(overrides=overrides)
    assert len(found) == 1, found
    assert found[0].startswith(path)
    assert words in found[0]


def test_contradictions_are_reported_beside_other_mistakes_but_not_with_them() -> None:
    overrides = {"raft.peers": "b=h:1", "broker.port": 9091, "monitoring.prometheus_port": -1}
    found = mistakes(overrides=overrides)
    assert [entry.split(" ")[0] for entry in found] == ["monitoring.prometheus_port", "raft.peers"]


@pytest.mark.parametrize(
    "door",
    [
        {"raft.secret": "0123456789abcdef"},
        {"raft.cert_file": "c", "raft.key_file": "k", "raft.ca_file": "a"},
        {"broker.host": "127.0.0.1"},
        {"broker.host": "::1"},
        {"broker.host": "localhost"},
    ],
)
def test_a_raft_port_that_is_closed_to_strangers_is_fine(door: dict[str, Any]) -> None:
    assert load(overrides={**GROUP, **door}).raft.enabled


def test_ports_that_are_not_served_or_free_do_not_clash() -> None:
    overrides = {"broker.port": 8080, "monitoring.prometheus_port": 6380}
    assert load(overrides=overrides).broker.port == 8080
    overrides = {"broker.port": 0, "monitoring.prometheus_port": 0}
    assert load(overrides=overrides).monitoring.prometheus_port == 0


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("[::1]", False),
        ("LOCALHOST", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.1", True),
        ("localhost.example.org", True),
    ],
)
def test_open_hosts(host: str, expected: bool) -> None:
    assert is_open(host) is expected


def auth_on() -> dict[str, Any]:
    return {"auth.enabled": True, "auth.api_keys": [{"hash": A_HASH, "role": "admin"}]}


def test_warnings() -> None:
    (warning,) = load().warnings()
    assert warning.startswith("Anyone who reaches 0.0.0.0:6379")
    assert "auth.enabled" in warning
    assert load(overrides=LOCAL).warnings() == []
    assert "clear text" in "".join(load(overrides=auth_on()).warnings())
    assert "two nodes" in "".join(load(overrides={**GROUP, **LOCAL}).warnings())
    three = {**GROUP, "raft.peers": "b=h:1,c=h:2", **LOCAL}
    assert load(overrides=three).warnings() == []
    interval = {"persistence.durability": "interval", **LOCAL}
    assert "100 ms" in "".join(load(overrides=interval).warnings())


def test_not_served_yet() -> None:
    noted = [row.path for row in effective(load()) if row.note]
    assert noted == ["api.rest_port", "api.grpc_port"]


def test_secrets_are_never_shown() -> None:
    secret = "do-not-show-this-secret"
    overrides = {"raft.secret": secret, "auth.enabled": True, "auth.api_keys": [
        {"hash": A_HASH, "role": "admin"}
    ]}  # fmt: skip
    config = load(overrides=overrides)
    rows = {row.path: row for row in effective(config)}
    assert rows["raft.secret"].value == "(hidden)"
    assert rows["auth.api_keys"].value == "(1 keys)"
    for text in (str(effective(config)), repr(config), str(config)):
        assert secret not in text
        assert A_HASH not in text
    for path in ("raft.secret", "auth.api_keys"):
        assert secret[:9] not in "".join(mistakes(overrides={path: {"a": secret}}))
    assert secret not in "".join(mistakes(overrides={"raft.secrets": secret}))


TWO_KEYS = f"""auth:
  enabled: true
  api_keys:
    - {{name: operators, role: admin, hash: "{A_HASH}"}}
    - {{name: mailer-2, ROLE, hash: "{A_HASH.replace("ab", "cd")}"}}
"""
IN_MAILER = "taskq.yaml line 5, key mailer-2"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            "role: producr",
            f"auth.api_keys[1].role = producr ({IN_MAILER}): allowed is producer, worker or admin",
        ),
        (
            "queues: mail.*",
            f"auth.api_keys[1].role ({IN_MAILER}): is missing; allowed is producer, worker or"
            " admin",
        ),
        (
            "role: worker, queue: tq_do-not-show",
            f"auth.api_keys[1].queue ({IN_MAILER}): unknown part; allowed is hash, role, queues or"
            " name",
        ),
        (
            f"role: worker, '{A_HASH}': x",
            f"auth.api_keys[1] ({IN_MAILER}): unknown part; allowed is hash, role, queues or name",
        ),
        (
            f"role: '{A_HASH}'",
            f"auth.api_keys[1].role = (hidden) ({IN_MAILER}): allowed is producer, worker or admin",
        ),
        (
            "role: worker, queues: ''",
            f"auth.api_keys[1].queues = '' ({IN_MAILER}): allowed is a pattern of 1 to 200"
            " characters",
        ),
    ],
)
def test_a_mistake_in_a_key_names_line_key_and_part(part: str, expected: str) -> None:
    assert mistakes(TWO_KEYS.replace("ROLE", part)) == [expected]


def test_hashes_of_keys_are_hidden_in_mistakes() -> None:
    (found,) = mistakes(TWO_KEYS.replace("ROLE", "role: worker").replace("cd", "x-no-hash", 1))
    assert found == (
        f"auth.api_keys[1].hash = (hidden) ({IN_MAILER}): allowed is sha256: and 64 hex digits"
    )
    same = TWO_KEYS.replace("ROLE", "role: worker").replace("cd", "ab")
    assert mistakes(same) == [
        "auth.api_keys[1] = (hidden) (taskq.yaml line 5): the same key as [0], whose rights would"
        " count"
    ]
    assert "do-not-show" not in "".join(mistakes("auth: {api_keys: [do-not-show]}"))


def test_effective_lists_every_key_with_its_source() -> None:
    config = load("broker:\n  max_bytes_in_flight: 1.5MiB\n", {"TASKQ_RAFT__PORT": "7"})
    rows = {row.path: row for row in effective(config)}
    assert list(rows) == list(keys())
    assert rows["broker.max_bytes_in_flight"].value == "1536KiB"
    assert rows["broker.max_bytes_in_flight"].default == "64MiB"
    assert rows["broker.max_bytes_in_flight"].source == "taskq.yaml line 2"
    assert rows["raft.port"].source == "environment variable TASKQ_RAFT__PORT"
    assert rows["api.rest_port"].note == "not served yet"
    assert rows["broker.advertise"].value == ""
    assert all(row.about and row.allowed for row in rows.values())


def test_the_reference_is_up_to_date() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    assert page == reference.render(), "docs/configuration.md is out of date: make docs"


def test_the_reference_has_a_row_for_every_key() -> None:
    rows = [line for line in reference.render().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(keys())
    # Five bars each: nothing in a cell breaks the table.
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}


def test_example_is_up_to_date() -> None:
    written = (DOCS / "taskq.example.yaml").read_text("utf-8")
    assert written == example_yaml(), "run `make docs`"


def test_example_sets_nothing_and_uncommented_sets_the_defaults() -> None:
    assert load(example_yaml()) == Config()
    lines = [
        "  " + line[3:] if line.startswith("  #") and not line.startswith("  # ") else line
        for line in example_yaml().splitlines()
    ]
    parsed = parse_yaml("\n".join(lines), "example")
    assert set(parsed.values) == set(keys())
    assert load("\n".join(lines)).model_dump() == Config().model_dump()


def test_every_group_and_key_is_described() -> None:
    assert all((model.__doc__ or "").strip() for model in groups().values())
    assert all(field.description for field in keys().values())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("1MiB", 2**20),
        ("1 mib", 2**20),
        ("64KiB", 2**16),
        ("1.5GiB", 3 * 2**29),
        ("1KB", 1000),
        ("2TB", 2 * 10**12),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e6", "1.5", "0.3KB1", "٣KiB", "1__0"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**60 - 1))
def test_sizes_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=60))
def test_any_text_loads_or_is_a_config_error(text: str) -> None:
    try:
        load(text)
    except ConfigError as error:
        assert error.mistakes


@given(st.dictionaries(st.sampled_from(list(keys())), st.text(max_size=12), max_size=4))
def test_any_environment_loads_or_is_a_config_error(values: dict[str, str]) -> None:
    env = {f"TASKQ_{path.replace('.', '__')}".upper(): text for path, text in values.items()}
    try:
        load(env=env)
    except ConfigError as error:
        assert error.mistakes


def test_errors_travel() -> None:
    with pytest.raises(ConfigError) as raised:
        load(overrides={"broker.port": -1})
    again = copy.copy(raised.value)
    assert str(again) == str(raised.value)


def test_a_missing_file_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(Path("/does/not/exist.yaml"), {}, {})
