"""The groups `api`, `auth` and `monitoring`: what is served, and that the rest says it is not."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import taskq
from cluster.config import ConfigError, load_config
from cluster.node import CannotStart
from tests.integration.config.live_node import running
from tests.integration.config.node_process import environment, serving
from tests.integration.config.test_broker_keys import free_port
from tests.integration.config.tested_keys import acts
from tests.integration.tls.files import Files

THE_KEY = "tq_a-key-of-tests"
A_KEY = "[{hash: 'sha256:" + sha256(THE_KEY.encode()).hexdigest() + "', role: admin}]"


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


@acts("api.enable_tls", "api.cert_file", "api.key_file", "monitoring.enable_tls")
def test_ports_speak_tls(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with serving(tmp_path, {**files.api("node1"), "monitoring.enable_tls": "true"}) as node:
        with taskq.Client(f"taskqs://{node.served['broker']}", ca_file=files.ca) as client:
            client.submit("q")
        url = f"https://{node.served['monitoring']}/metrics"
        with urlopen(url, context=files.context(), timeout=5) as page:
            assert b'tq_certificate_expiry_seconds{setting="api.cert_file"}' in page.read()
        assert node.end(signal.SIGTERM) == 0


@acts("api.client_ca_file")
def test_clients_have_to_show_certificates_and_probes_need_not(tmp_path: Path) -> None:
    files = Files(tmp_path)
    given = {**files.api("node1"), "api.client_ca_file": files.ca, "monitoring.enable_tls": "true"}
    cert, key = files.client()
    with serving(tmp_path, given) as node:
        url = f"taskqs://{node.served['broker']}?ca_file={files.ca}"
        with taskq.Client(f"{url}&cert_file={cert}&key_file={key}") as client:
            client.submit("q")
        with taskq.Client(url, timeout=0.3) as client, pytest.raises(taskq.ConnectionFailed):
            client.submit("q")
        url = f"https://{node.served['monitoring']}/livez"
        with urlopen(url, context=files.context(), timeout=5) as page:
            assert page.status == 200
        assert node.end(signal.SIGTERM) == 0


async def test_certificates_that_cannot_be_used_end_the_start(tmp_path: Path) -> None:
    given = Files(tmp_path).api("node1")
    with pytest.raises(CannotStart, match=r"api\.key_file: .*nowhere: No such file"):
        async with running(tmp_path, {**given, "api.key_file": tmp_path / "nowhere"}):
            pass
    assert not (tmp_path / "data").exists()


def test_monitoring_has_no_certificate_of_its_own() -> None:
    with pytest.raises(
        ConfigError, match=r"monitoring\.enable_tls .*: needs api\.enable_tls: true"
    ):
        load_config(None, {}, {"monitoring.enable_tls": "true"})


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


@acts("auth.enabled", "auth.api_keys")
def test_a_node_with_keys_wants_one(tmp_path: Path) -> None:
    with serving(tmp_path, {"auth.enabled": "true", "auth.api_keys": A_KEY}) as node:
        address = node.served["broker"]
        with (
            taskq.Client(f"taskq://{address}", timeout=5) as client,
            pytest.raises(taskq.PermissionDenied, match="wants an API key"),
        ):
            client.stats()
        with taskq.Client(f"taskq://{THE_KEY}@{address}", timeout=5) as client:
            assert client.stats().states["ready"] == 0


@acts("monitoring.prometheus_port")
async def test_metrics_are_where_the_port_says(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path / "one", {"monitoring.prometheus_port": port}) as node:
        assert node.addresses.monitoring == f"127.0.0.1:{port}"
        assert "tq_is_leader 1.0" in await node.metrics()
        with pytest.raises(CannotStart, match=r"change monitoring\.prometheus_port"):
            async with running(tmp_path / "two", {"monitoring.prometheus_port": port}):
                pass


@acts("monitoring.host")
async def test_metrics_may_stay_on_another_address_than_clients_use(tmp_path: Path) -> None:
    settings = {"broker.host": "127.0.0.2", "monitoring.host": "127.0.0.3"}
    async with running(tmp_path / "one", settings) as node:
        assert node.addresses.broker.startswith("127.0.0.2:")
        assert node.addresses.monitoring.startswith("127.0.0.3:")
        assert "tq_is_leader 1.0" in await node.metrics()
        port = int(node.addresses.monitoring.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", port)
    async with running(tmp_path / "two", {"broker.host": "127.0.0.2"}) as node:
        assert node.addresses.monitoring.startswith("127.0.0.2:")


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
