"""The groups `api`, `auth` and `monitoring`: what is served, and that the rest says it is not."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.config import ConfigError, load_config
from cluster.node import CannotStart
from tests.integration.config.live_node import LOCAL, running
from tests.integration.config.node_process import environment, options, outcome, serving
from tests.integration.config.test_broker_keys import free_port
from tests.integration.config.tested_keys import acts

A_KEY = "[{hash: 'sha256:" + "ab" * 32 + "', role: admin}]"


def notes() -> dict[str, str]:
    """What `taskq config` adds to each key."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "taskq.cli", "config", "--json"],
        env=environment(),
        capture_output=True,
        check=True,
    )
    return {entry["path"]: entry["note"] for entry in json.loads(done.stdout)["settings"]}


@acts("api.rest_port", "api.grpc_port")
def test_ports_that_are_not_served_say_so(tmp_path: Path) -> None:
    assert [path for path, note in notes().items() if note == "not served yet"] == [
        "api.rest_port",
        "api.grpc_port",
    ]
    ports = {"api.rest_port": free_port(), "api.grpc_port": free_port()}
    with serving(tmp_path, ports) as node:
        for port in ports.values():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)
        assert node.end(signal.SIGTERM) == 0


@acts("api.enable_tls")
def test_a_node_does_not_pretend_to_encrypt(tmp_path: Path) -> None:
    switch = {"api.enable_tls": "true", "api.cert_file": "c.pem", "api.key_file": "k.pem"}
    place = {"persistence.data_dir": tmp_path / "data"}
    code, said = outcome(*options({**LOCAL, **place, **switch}))
    assert (code, "api.enable_tls is not built yet: set it to false" in said) == (1, True), said
    assert not (tmp_path / "data").exists()


@acts("api.cert_file", "api.key_file", "api.client_ca_file")
def test_certificates_without_tls_are_a_forgotten_switch() -> None:
    for key in ("cert_file", "key_file", "client_ca_file"):
        with pytest.raises(ConfigError, match=r"api\.enable_tls: must be true where certificate"):
            load_config(None, {}, {f"api.{key}": "x.pem"})
    with pytest.raises(ConfigError) as raised:
        load_config(None, {}, {"api.enable_tls": "true"})
    assert [mistake.path for mistake in raised.value.mistakes] == ["api.cert_file", "api.key_file"]


@acts("auth.enabled", "auth.api_keys")
def test_keys_and_their_switch_go_together() -> None:
    with pytest.raises(ConfigError, match=r"auth\.enabled: true needs at least one key"):
        load_config(None, {}, {"auth.enabled": "true"})
    with pytest.raises(ConfigError, match=r"auth\.enabled: must be true where auth\.api_keys"):
        load_config(None, {}, {"auth.api_keys": A_KEY})


@acts("auth.enabled")
def test_a_node_does_not_pretend_to_ask_for_keys(tmp_path: Path) -> None:
    switch = {"auth.enabled": "true", "auth.api_keys": A_KEY}
    place = {"persistence.data_dir": tmp_path / "data"}
    code, said = outcome(*options({**LOCAL, **place, **switch}))
    assert (code, "auth.enabled is not built yet: set it to false" in said) == (1, True), said


@acts("monitoring.prometheus_port")
async def test_metrics_are_where_the_port_says(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path / "one", {"monitoring.prometheus_port": port}) as node:
        assert node.addresses.monitoring == f"127.0.0.1:{port}"
        assert "tq_is_leader 1.0" in await node.metrics()
        with pytest.raises(CannotStart, match=r"change monitoring\.prometheus_port"):
            async with running(tmp_path / "two", {"monitoring.prometheus_port": port}):
                pass


def logged(folder: Path, given: dict[str, Any]) -> list[str]:
    """The log of a node that started and stopped."""
    folder.mkdir()
    with serving(folder, given) as node:
        assert node.end(signal.SIGTERM) == 0
        return node.log()


@acts("monitoring.json_logging")
def test_logs_are_json_or_text(tmp_path: Path) -> None:
    said = ["elected", "serving", "stopping", "stopped"]
    lines = logged(tmp_path / "json", {})
    assert [json.loads(line)["message"] for line in lines] == said
    lines = logged(tmp_path / "text", {"monitoring.json_logging": "false"})
    assert len(lines) == len(said)
    assert not any(line.startswith("{") for line in lines)
    assert all(word in line for word, line in zip(said, lines, strict=True))


@acts("monitoring.log_level")
def test_less_important_lines_are_dropped(tmp_path: Path) -> None:
    assert logged(tmp_path / "warning", {"monitoring.log_level": "warning"}) == []
