"""`taskq config --check`: says of the files of certificates what a node would say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.certificates.authority import Authority


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """An authority's certificate and the pairs of two nodes."""
    authority = Authority.new()
    (tmp_path / "ca.pem").write_bytes(authority.pair.certificate)
    for name in ("node1", "node2"):
        pair = authority.issue_node(name, ("127.0.0.1",), 30)
        (tmp_path / f"{name}.pem").write_bytes(pair.certificate)
        (tmp_path / f"{name}.key").write_bytes(pair.key)
    return tmp_path


def raft(certs: Path, cert: str = "node1.pem", key: str = "node1.key") -> dict[str, Any]:
    files = {"cert_file": cert, "key_file": key, "ca_file": "ca.pem"}
    settings = {name: str(certs / file) for name, file in files.items()}
    return {"raft": {"enabled": True, "peers": ["node1=10.0.0.1:6380"], **settings}}


def api(certs: Path, cert: str = "node1.pem", key: str = "node1.key") -> dict[str, Any]:
    files = {"cert_file": str(certs / cert), "key_file": str(certs / key)}
    return {"api": {"enable_tls": True, **files}}


def checked(taskq: Any, certs: Path, settings: dict[str, Any], *options: str) -> Any:
    file = certs / "taskq.yaml"
    file.write_text(yaml.safe_dump(settings))
    return taskq("config", "--config", str(file), *options)


def test_files_that_fit_can_be_used(taskq: Any, certs: Path) -> None:
    shown = checked(taskq, certs, raft(certs) | api(certs), "--check")
    assert (shown.exit_code, shown.stdout) == (0, "The configuration can be used.\n"), shown.output


@pytest.mark.parametrize(
    ("make", "files", "words"),
    [
        (raft, ("nowhere.pem", "node1.key"), "raft.cert_file: {}/nowhere.pem: No such file"),
        (raft, ("node1.pem", "node2.key"), "raft.key_file: {0}/node2.key is not the key of {0}/"),
        (raft, ("node2.pem", "node2.key"), "raft.cert_file: {}/node2.pem names node2,"),
        (api, ("nowhere.pem", "node1.key"), "api.cert_file: {}/nowhere.pem: No such file"),
        (api, ("node1.pem", "node2.key"), "api.key_file: {0}/node2.key is not the key of {0}/"),
    ],
)
def test_files_that_a_node_refuses(
    taskq: Any, certs: Path, make: Any, files: tuple[str, str], words: str
) -> None:
    failed = checked(taskq, certs, make(certs, *files), "--check")
    assert (failed.exit_code, failed.stdout) == (1, ""), failed.output
    said = f"The certificates cannot be used: {words.format(certs)}"
    assert failed.stderr.startswith(said), failed.stderr
    error = json.loads(checked(taskq, certs, make(certs, *files), "--check", "--json").stdout)
    assert error["error"]["message"].startswith(said)


def test_values_are_shown_where_the_files_are_not(taskq: Any, certs: Path) -> None:
    """As on the desk of who writes the file."""
    shown = checked(taskq, certs, raft(certs, "nowhere.pem"), "--json")
    assert shown.exit_code == 0, shown.output
    assert str(certs / "nowhere.pem") in shown.stdout
