"""`taskq certs`: what it writes, prints and refuses. No port is asked here."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.certificates.port_certificates import PortCertificates, PortFiles
from cluster.config import load_config
from taskq.client.address import parse_url
from tests.unit.cli.documented import check

NODES = ["--node", "node1=localhost,127.0.0.1", "--node", "node2=::1"]


def init(taskq: Any, folder: Path, *arguments: str) -> Any:
    return json.loads(taskq("certs", "init", str(folder), *arguments, "--json").stdout)


def test_what_is_made_works_together(taskq: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    made = check("certs init", init(taskq, folder, *NODES, "--client", "mailer"))
    for one in made["nodes"]:
        files = PortFiles(
            "raft", *(Path(one[key]) for key in ("cert_file", "key_file")), Path(made["ca_file"])
        )
        assert PortCertificates(files, dials=True).client is not None
    (url,) = made["urls"]
    target = parse_url(url)
    assert [str(one) for one in target.addresses] == ["localhost:6379", "[::1]:6379"]
    context = ssl.create_default_context(cafile=target.files.ca_file)
    assert target.files.cert_file
    context.load_cert_chain(target.files.cert_file, target.files.key_file)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("ca.key", "ca.pem", "mailer.key", "mailer.pem"),
        *("node1.key", "node1.pem", "node2.key", "node2.pem"),
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_settings_that_it_prints_can_be_used(taskq: Any, tmp_path: Path) -> None:
    text = taskq("certs", "init", str(tmp_path), *NODES, "--client", "c").stdout
    _, first, second = text.split("# node")
    for number, part in enumerate((first, second), 1):
        settings = yaml.safe_load(f"# node{part}")
        given = {
            f"{group}.{key}": path for group, keys in settings.items() for key, path in keys.items()
        }
        config = load_config(None, {}, given)
        assert config.api.enable_tls
        assert config.api.cert_file == config.raft.cert_file == tmp_path / f"node{number}.pem"
        assert config.api.client_ca_file == config.raft.ca_file == tmp_path / "ca.pem"
    assert (
        f"export TASKQ_URL='taskqs://localhost,[::1]?ca_file={tmp_path}/ca.pem&cert_file=" in text
    )


def test_nothing_is_overwritten_and_the_authority_stays(taskq: Any, tmp_path: Path) -> None:
    init(taskq, tmp_path, "--node", "node1=h")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    outcome = taskq("certs", "init", str(tmp_path), *NODES)
    assert outcome.exit_code == 1
    assert "node1.pem" in outcome.stderr
    assert "exists already; nothing was changed" in outcome.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    made = init(taskq, tmp_path, "--node", "node2=h", "--client", "c")
    assert not made["new_authority"]
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--node NODE_ID=HOST"),
        (["--node", "node1"], "expected NODE_ID=HOST"),
        (["--node", "node1="], "expected NODE_ID=HOST"),
        (["--node", "no de=h"], "expected NODE_ID=HOST"),
        (["--node", "n=h", "--node", "n=g"], "n is named twice"),
        (["--client", "../x"], "allowed are 1 to 64"),
        (["--node", "n=h", "--days", "0"], "1<=x<=3650"),
        (["--node", "n=a b"], "neither a host name nor an address"),
        (["--node", "n=h", "--client", "n"], "n: each name once"),
        (["--client", "ca"], "ca: each name once"),
    ],
)
def test_what_makes_no_sense(taskq: Any, tmp_path: Path, arguments: list[str], words: str) -> None:
    folder = tmp_path / "certs"
    outcome = taskq("certs", "init", str(folder), *arguments)
    assert outcome.exit_code in (1, 2)
    assert words in outcome.stderr.replace("\n", " ")
    assert not folder.exists()


def test_show_says_what_a_file_says(taskq: Any, tmp_path: Path) -> None:
    init(taskq, tmp_path, *NODES, "--days", "30")
    path = tmp_path / "node1.pem"
    shown = check("certs show", json.loads(taskq("certs", "show", str(path), "--json").stdout))
    (one,) = shown["certificates"]
    assert (one["names"], one["uses"]) == (
        ["node1", "localhost", "127.0.0.1"],
        ["server", "client"],
    )
    assert 29.9 < one["days_left"] <= 30
    text = taskq("certs", "show", str(path)).stdout
    assert "CN=node1" in text
    assert "29 days" in text
    assert "signing certificates" in taskq("certs", "show", str(tmp_path / "ca.pem")).stdout


@pytest.mark.parametrize(
    ("target", "words"),
    [("ca.key", "holds no certificate"), ("nowhere:port", "neither a file nor HOST:PORT")],
)
def test_show_where_there_is_none(taskq: Any, tmp_path: Path, target: str, words: str) -> None:
    init(taskq, tmp_path, *NODES)
    target = str(tmp_path / target) if "." in target else target
    outcome = taskq("certs", "show", target)
    assert (outcome.exit_code, words in outcome.stderr) == (1, True), outcome.stderr
