"""`taskq demo` and `taskq up`: they start everything, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from taskq.cli.local_folder import free_ports
from taskq.cli.usual_ports import take
from taskq.cli.wordcount import count_directly, count_file, standard_library
from tests.unit.cli.documented import check


def read_until(stream: Any, text: str) -> str:
    """Lines up to the one that holds `text`."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return "".join(lines)
    pytest.fail(f"{text!r} not in {''.join(lines)}")


def signal_group(process: Any, number: int) -> None:
    """What Ctrl-C at a terminal does: everyone in the foreground group gets it."""
    os.killpg(process.pid, number)


def test_demo_counts_as_a_direct_count_does(shell: Any) -> None:
    document = check("demo", json.loads(shell.run("demo", "--json", timeout=55).stdout))
    assert document["equal"]
    assert document["tasks"]["files"] == len(standard_library()) > 500
    assert document["tasks"]["words"] == document["direct"]["words"] > 1_000_000
    outage = document["outage"]
    assert {outage["killed"], outage["leader"]} < {"node1", "node2", "node3"}
    assert 0 < outage["secs"] < 10
    assert shell.left() == []
    assert list(shell.scratch.iterdir()) == []


def test_demo_stays_in_front_until_ctrl_c(shell: Any, until: Any) -> None:
    demo = shell.start("demo", "--files", "20")
    shown = read_until(demo.stdout, "Ctrl-C stops everything.")
    assert "The totals are equal" in shown
    assert "led and was killed half-way" in shown
    url = shown.split("export TASKQ_URL=")[1].split()[0]
    file = shell.folder / "text"
    file.write_text("a b c\n")
    tried = shell.run(
        "submit", "demo", "--json-args", json.dumps([str(file)]), "--wait", "--url", url
    )
    assert json.loads(tried.stdout) == {"lines": 1, "words": 3, "bytes": 6}
    assert "demo" in shell.run("stats", "--url", url).stdout
    signal_group(demo, signal.SIGINT)
    demo.communicate(timeout=30)
    assert demo.returncode == 0
    assert shell.left() == []
    assert list(shell.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("", signal.SIGINT, 130),
        ("", signal.SIGTERM, 143),
        ("Counting", signal.SIGINT, 130),
        ("submitted", signal.SIGHUP, 129),
    ],
)
def test_demo_interrupted_leaves_nothing(
    shell: Any, moment: str, number: int, code: int, until: Any
) -> None:
    demo = shell.start("demo")
    if moment:
        read_until(demo.stderr, moment)
    else:  # while the broker is being started
        until(lambda: list(shell.scratch.iterdir()))
    signal_group(demo, number)
    demo.send_signal(number)  # an impatient second one
    _, log = demo.communicate(timeout=40)
    assert demo.returncode == code, log
    assert "Traceback" not in log
    assert shell.left() == []
    assert list(shell.scratch.iterdir()) == []


def test_children_end_with_a_demo_that_is_killed(shell: Any, until: Any) -> None:
    demo = shell.start("demo")
    read_until(demo.stderr, "Counting")
    assert len(shell.left()) >= 5
    demo.kill()
    demo.communicate(timeout=20)
    until(lambda: shell.left() == [], 20)
    until(lambda: list(shell.scratch.iterdir()) == [], 20)


def test_up_serves_until_a_signal_and_keeps_the_tasks(shell: Any) -> None:
    ids = []
    for number in (signal.SIGINT, signal.SIGTERM):
        up = shell.start("up", "--data", "kept", "--port", "0")
        shown = read_until(up.stdout, "export TASKQ_URL=")
        shell.environment["TASKQ_URL"] = shown.split("export TASKQ_URL=")[1].strip()
        ids.append(shell.run("submit", "q").stdout.strip())
        listed = shell.json("tasks")["tasks"]
        assert [task["id"] for task in listed] == ids
        signal_group(up, number)
        _, log = up.communicate(timeout=30)
        assert up.returncode == 0, log
        assert shell.left() == []
    assert (shell.folder / "kept").is_dir()
    assert list(shell.scratch.iterdir()) == []


def test_up_names_the_option_when_the_port_is_taken(shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = shell.run("up", "--port", str(port), code=1)
    assert f"Port {port} is in use by another program; --port names another one." in failed.stderr
    assert not (shell.folder / "data").exists()


def test_usual_ports_are_for_one_at_a_time() -> None:
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        a, b, c = free_ports(3)
        assert take([a, b], first)
        assert not take([c, b], second), "another one has looked at it, and will listen there"
        assert take([c], second), "what was not taken whole is left"
        first.close()
        assert take([a, b], second)
    with socket.create_server(("127.0.0.1", a)), contextlib.ExitStack() as third:
        assert not take([a], third)


def test_up_on_a_folder_that_is_in_use(shell: Any) -> None:
    up = shell.start("up", "--port", "0")
    read_until(up.stdout, "export TASKQ_URL=")
    second = shell.run("up", "--port", "0", code=1)
    assert "persistence.data_dir" in second.stderr
    assert "Traceback" not in second.stderr


def test_config_shows_values_with_their_source(shell: Any) -> None:
    (shell.folder / "node.yaml").write_text("broker:\n  port: 7000\n")
    shell.environment["TASKQ_BROKER__MAX_CONNECTIONS"] = "7"
    document = shell.json("config", "--config", "node.yaml")
    found = {setting["path"]: setting for setting in document["settings"]}
    assert found["broker.port"]["value"] == "7000"
    assert "node.yaml" in found["broker.port"]["source"]
    assert "TASKQ_BROKER__MAX_CONNECTIONS" in found["broker.max_connections"]["source"]
    assert found["broker.host"]["source"] == "default"
    shown = shell.run("config", "--config", "node.yaml").stdout
    assert "broker.worker_lease_timeout_secs" in shown


def test_config_tells_all_mistakes_at_once(shell: Any) -> None:
    (shell.folder / "node.yaml").write_text("broker:\n  port: 70000\n  prot: 1\n")
    failed = shell.run("config", "--check", "--config", "node.yaml", code=1)
    assert "broker.port" in failed.stderr
    assert "broker.prot" in failed.stderr
    assert failed.stdout == ""


def test_config_check_refuses_what_a_node_would_refuse(shell: Any) -> None:
    (shell.folder / "node.yaml").write_text("api:\n  enable_tls: true\n  cert_file: cert.pem\n")
    failed = shell.run("config", "--check", "--config", "node.yaml", code=1)
    assert "api.key_file: needed with api.enable_tls: true" in failed.stderr


def test_example_configuration_can_be_used(shell: Any) -> None:
    (shell.folder / "node.yaml").write_text(shell.run("config", "--example").stdout)
    checked = shell.run("config", "--check", "--config", "node.yaml")
    assert checked.stdout == "The configuration can be used.\n"


def test_broker_is_tq_broker(shell: Any) -> None:
    shown = shell.run("broker", "--help").stdout
    assert "--config" in shown
    assert "--ready-file" in shown


def test_repair_shows_and_asks(shell: Any) -> None:
    up = shell.start("up", "--data", "kept", "--port", "0")
    shown = read_until(up.stdout, "export TASKQ_URL=")
    shell.environment["TASKQ_URL"] = shown.split("export TASKQ_URL=")[1].strip()
    task_id = shell.run("submit", "q").stdout.strip()
    assert "in use" in shell.run("repair", "kept", code=1).stderr
    signal_group(up, signal.SIGTERM)
    up.communicate(timeout=30)
    assert "Nothing to repair." in shell.run("repair", "kept").stdout
    (shell.folder / "kept" / "state" / "CURRENT").unlink()
    asked = shell.run("repair", "kept", code=1)  # nobody there to say yes
    assert "--yes goes on where nothing is lost" in asked.stderr
    assert "nothing that was acknowledged is lost" in asked.stdout
    document = check("repair", shell.json("repair", "kept", "--yes"))
    assert document["repaired"]
    assert all(Path(path).exists() for path in document["set_aside"])
    up = shell.start("up", "--data", "kept", "--port", "0")
    shown = read_until(up.stdout, "export TASKQ_URL=")
    shell.environment["TASKQ_URL"] = shown.split("export TASKQ_URL=")[1].strip()
    assert shell.json("status", task_id)["state"] == "ready"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a", b"a b\nc", b" \n\n x\r\ny\x00 z\n", b"\xff\xfe \x0b\x0c\n"]
)
def test_both_ways_of_counting_agree(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    direct = count_directly([str(path)])
    assert count_file(str(path)) == {
        "lines": direct.lines,
        "words": direct.words,
        "bytes": direct.bytes,
    }
    assert direct.bytes == len(content)
