"""A node as its operator meets it: words that can be acted upon, signals, pipes, folders, ports.

Everything that is said here is said without a traceback (`outcome` looks).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import taskq
from tests.integration.config.live_node import LOCAL, PATIENCE_SECS
from tests.integration.config.node_process import (
    TQ_BROKER,
    NodeProcess,
    environment,
    options,
    outcome,
    serving,
)

SCRIPT = Path(sys.executable).with_name("tq-broker")


# --- what cannot be used -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "TASKQ_BROKER__PORT=7000"),
        (["--version"], 0, "storage format"),
        (["--set", "broker.port"], 2, "expected KEY=VALUE"),
        (["--set", "=7000"], 2, "expected KEY=VALUE"),
        (["--config", ""], 2, "is empty"),
        (["--config", "nowhere.yaml"], 1, "nowhere.yaml: cannot be read: No such file"),
        (
            ["--ready-file", "nowhere/ready.json", *options(LOCAL)],
            1,
            "folder nowhere does not exist",
        ),
        (["--ready-file", ".", *options(LOCAL)], 1, "is a folder, not a file"),
    ],
)
def test_usage(tmp_path: Path, arguments: Sequence[str], code: int, words: str) -> None:
    found, said = outcome(*arguments, folder=tmp_path)
    assert (found, words in said) == (code, True), said
    assert not list(tmp_path.iterdir()), "refused, and yet something was made"


def test_every_mistake_of_every_source_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "taskq.yaml").write_text("broker:\n  prot: 1\n", "utf-8")
    arguments = ["--config", "taskq.yaml", "--set", "raft.port=x"]
    code, said = outcome(*arguments, env={"TASKQ_BROKER__PORT": "abc"}, folder=tmp_path)
    assert code == 1
    assert said.splitlines() == [
        "The configuration has 3 mistakes:",
        "  broker.prot (taskq.yaml line 2): unknown key; did you mean broker.port?",
        "  broker.port = abc (environment variable TASKQ_BROKER__PORT): allowed is a port from 1 to"
        " 65535, or 0 for any free one",
        "  raft.port = x (command line): allowed is a port from 1 to 65535, or 0 for any free one",
    ]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("persistence.data_dir=a-file", "is a file, not a folder"),
        ("persistence.data_dir=a-file/data", "a-file/data cannot be used"),
        ("persistence.data_dir=/proc/taskq", "/proc/taskq cannot be used"),
        ("broker.host=192.0.2.1", "192.0.2.1 is no address of this machine: change broker.host"),
        ("broker.host=nowhere.invalid", "no address is known for nowhere.invalid"),
        ("monitoring.host=192.0.2.1", "no address of this machine: change monitoring.host"),
    ],
)
def test_places_that_cannot_be_used(tmp_path: Path, setting: str, words: str) -> None:
    (tmp_path / "a-file").touch()
    code, said = outcome(*options(LOCAL), "--set", setting, folder=tmp_path)
    assert (code, words in said) == (1, True), said
    assert setting.partition("=")[0] in said, "it does not say which setting to change"


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    with serving(tmp_path) as node:
        place = options({**LOCAL, "persistence.data_dir": tmp_path / "data"})
        code, said = outcome(*place)
        assert (code, f"in use by process {node.process.pid}" in said) == (1, True), said
        assert node.end(signal.SIGTERM) == 0


# --- how it ends ---------------------------------------------------------------------------------


def words(node: NodeProcess) -> list[str]:
    return [json.loads(line)["message"] for line in node.log()]


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM], [signal.SIGINT] * 3],
    ids=["TERM", "an impatient Ctrl-C"],
)
def test_a_signal_ends_it_cleanly(tmp_path: Path, signals: list[signal.Signals]) -> None:
    with serving(tmp_path) as node:
        assert node.end(*signals) == 0
        assert words(node) == ["elected", "serving", "stopping", "stopped"]
        assert not (tmp_path / "ready.json").exists()


def test_a_closed_terminal_ends_it_and_a_hang_up_by_hand_does_not(tmp_path: Path) -> None:
    number, its_end = os.openpty()
    on_terminal = [sys.executable, "-c", _ON_TERMINAL, os.ttyname(its_end), *TQ_BROKER]
    os.close(its_end)
    with (
        open(number, "rb", buffering=0) as terminal,
        serving(tmp_path, command=on_terminal) as node,
    ):
        node.process.send_signal(signal.SIGHUP)  # asks it to read its files again
        submit(node)
        terminal.close()
        assert node.process.wait(PATIENCE_SECS) == 0
        assert words(node)[-2:] == ["stopping", "stopped"]


# A session of its own on that terminal. A parent that ignores SIGHUP, as nohup does, would hand
# that on.
_ON_TERMINAL = (
    "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    " os.setsid(); os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.mark.parametrize("after_secs", [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
def test_ctrl_c_at_any_moment_of_the_start_ends_it(tmp_path: Path, after_secs: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cluster", *options(LOCAL | {"broker.port": 0})],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.wait(after_secs)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_SECS)
    # Before Python has read the first line of ours, the traceback is its own; so may the code be.
    codes = (0, -signal.SIGINT, 1 if "Fatal Python error: init_import_site" in said else 0)
    assert process.returncode in codes, said
    assert "Traceback" not in said or "site.py" in said or "<frozen" in said, said


def test_under_nohup_a_closed_terminal_does_not_end_it(tmp_path: Path) -> None:
    with serving(tmp_path, command=["nohup", *TQ_BROKER]) as node:
        node.process.send_signal(signal.SIGHUP)
        submit(node)
        assert node.end(signal.SIGTERM) == 0


def submit(node: NodeProcess) -> None:
    with taskq.Client(f"taskq://{node.served['broker']}", timeout=10) as client:
        client.submit("q")


def test_a_ready_file_of_a_killed_node_does_not_say_ready(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    ready.write_text("{}", "utf-8")
    place = {"persistence.data_dir": tmp_path / "data", "broker.host": "192.0.2.1"}
    code, _ = outcome(*options({**LOCAL, **place}), "--ready-file", str(ready))
    assert (code, ready.exists()) == (1, False)


# --- pipes and folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_streams_do_not_end_it(tmp_path: Path, closed: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *TQ_BROKER]
    with serving(tmp_path, command=shell) as node:
        submit(node)
        assert node.end(signal.SIGTERM) == 0


def test_a_log_that_nobody_reads_any_more_does_not_end_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    ready = tmp_path / "ready.json"
    place = options({**LOCAL, "persistence.data_dir": tmp_path / "data"})
    process = subprocess.Popen(
        [*TQ_BROKER, *place, "--ready-file", str(ready)], env=environment(), stderr=writing
    )
    os.close(writing)
    try:
        assert os.read(reading, 1), "its first line"
        os.close(reading)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECS) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_it_starts_in_a_folder_with_modules_of_the_same_names(tmp_path: Path) -> None:
    for name in ("cluster", "taskq", "structlog"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')", "utf-8")
    with serving(tmp_path, command=[str(SCRIPT)]) as node:
        submit(node)
        assert node.end(signal.SIGTERM) == 0


def test_a_configuration_may_come_through_a_pipe(tmp_path: Path) -> None:
    shell = ["bash", "-c", 'exec "$@" --config <(echo "raft: {node_id: piped}")', "bash"]
    with serving(tmp_path, command=[*shell, *TQ_BROKER]) as node:
        assert node.end(signal.SIGTERM) == 0
        assert json.loads(node.log()[0])["node"] == "piped"
