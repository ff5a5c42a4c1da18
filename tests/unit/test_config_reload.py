"""A configuration that changes while the node runs: what is taken over, refused, or waits."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from cluster.config import ApiKey, load_config
from cluster.config_reload import ConfigReload
from cluster.watched_files import LOOK_SECS, WatchedFiles
from tests.unit.server.virtual_loop import VirtualLoop

HASHES = {name: "sha256:" + name * 64 for name in "abc"}


@pytest.fixture(autouse=True)
def said() -> Iterator[list[Any]]:
    level = logging.getLogger().level
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]
    logging.getLogger().setLevel(level)


class Node:
    """What a node does with its file. `given` holds the keys as often as they were replaced."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.path = folder / "taskq.yaml"
        self.write(**settings)
        self.given: list[list[str]] = []
        self.loop = VirtualLoop()
        self.files = WatchedFiles(self.loop)  # type: ignore[arg-type]
        config = load_config(self.path, {}, {"broker.host": "127.0.0.1"})
        ConfigReload(config, self._replace).start(self.files)
        self.files.start()

    def _replace(self, keys: Sequence[ApiKey]) -> int:
        self.given.append([key.hash[-1] for key in keys])
        return 2

    def write(self, keys: str = "a", **settings: Any) -> None:
        entries = [{"hash": HASHES[key], "role": "admin", "name": f"key-{key}"} for key in keys]
        auth = {"auth": {"enabled": True, "api_keys": entries}} if keys else {}
        self.path.write_text(json.dumps({**auth, **settings}))

    def pass_by(self) -> None:
        self.loop.advance(2 * LOOK_SECS)

    def change(self, **settings: Any) -> None:
        self.write(**settings)
        self.pass_by()


def test_keys_are_taken_over_and_an_audit_line_says_so(tmp_path: Path, said: list[Any]) -> None:
    node = Node(tmp_path)
    node.change(keys="bc")
    assert node.given == [["b", "c"]]
    (line,) = [line for line in said if line["event"] == "keys replaced"]
    assert (line["added"], line["removed"]) == (["key-b", "key-c"], ["key-a"])
    assert line["sessions_ended"] == 2
    assert not any(one in str(said) for one in HASHES.values())


def test_a_file_with_a_mistake_is_refused_whole(tmp_path: Path, said: list[Any]) -> None:
    node = Node(tmp_path)
    node.change(keys="b", broker={"port": "many"}, monitoring={"log_level": "error"})
    assert node.given == []
    (line,) = [line for line in said if line["log_level"] == "error"]
    assert "broker.port" in line["mistakes"][0]
    node.path.write_text("auth: [")
    node.pass_by()
    node.path.unlink()
    node.pass_by()
    assert node.given == []
    node.change(keys="b")
    assert node.given == [["b"]]


def test_no_keys_at_all_are_a_mistake(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.path.write_text(json.dumps({"auth": {"enabled": True, "api_keys": []}}))
    node.pass_by()
    assert node.given == []


def test_what_needs_a_restart_is_named(tmp_path: Path, said: list[Any]) -> None:
    node = Node(tmp_path)
    node.change(broker={"port": 7000}, worker={"concurrency": 9})
    (line,) = [line for line in said if line["log_level"] == "warning"]
    assert line["settings"] == ["broker.port", "worker.concurrency"]
    assert node.given == []


def test_authentication_is_switched_by_a_restart_only(tmp_path: Path, said: list[Any]) -> None:
    node = Node(tmp_path)
    node.change(keys="")
    assert node.given == [], "everybody would get in, or nobody"
    (line,) = [line for line in said if line["log_level"] == "warning"]
    assert "auth.enabled" in line["settings"]
    other = Node(tmp_path, keys="")
    other.change(keys="a")
    assert other.given == []


def test_how_much_is_logged_is_taken_over(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.change(monitoring={"log_level": "error"})
    assert logging.getLogger().level == logging.ERROR
    node.change()
    assert logging.getLogger().level == logging.INFO


def test_asked_for_without_a_change_nothing_happens(tmp_path: Path, said: list[Any]) -> None:
    node = Node(tmp_path)
    node.files.reload()
    assert node.given == []
    assert [line["event"] for line in said] == ["the configuration is read again"]
