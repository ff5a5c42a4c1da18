"""The configuration read from a real file: what can go wrong before the first key is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.config import ConfigError, load_config


def test_a_file_with_its_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "taskq.yaml"
    path.write_text("# mine\nbroker:\n  port: 7000\n  host: 127.0.0.1\n", "utf-8")
    config = load_config(path, {"TASKQ_BROKER__HOST": "::1"}, {})
    assert config.broker.port == 7000
    assert config.source("broker.port") == f"{path} line 3"
    assert config.broker.host == "::1"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * (1024 * 1024 + 1), "larger than 1 MiB"),
        (b"broker:\n\tport: 1\n", "line 2: is not valid YAML"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "taskq.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load_config(path, {}, {})


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path, {}, {})


def test_import_does_nothing_visible() -> None:
    """Importing sets up no logging, prints nothing, and starts no thread."""
    script = (
        "import logging, threading, cluster.config, cluster.logging, structlog;"
        "assert not logging.getLogger().handlers;"
        "assert threading.active_count() == 1;"
        "assert not structlog.is_configured()"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert ended.stdout + ended.stderr == b""
