"""The base install: client, worker and command line in an environment without anything of a node,
run from a folder that has a `cluster.py` of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

import taskq
from taskq.testing import Broker

WORK = """
def greet(name, times=1):
    return ["Hello, " + name] * times
"""
# Prints what was imported of others, as JSON.
IMPORTS = """
import json, sys
before = set(sys.modules)
import taskq, taskq.testing, taskq.cli.main
for name in taskq.__all__:
    getattr(taskq, name)
for section in taskq.cli.main.SECTIONS.values():
    for name in section:
        taskq.cli.main.cli.get_command(None, name)
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(tops - set(sys.stdlib_module_names))))
"""


def test_it_imports_nothing_that_is_not_there(base: Any) -> None:
    tops = json.loads(base.run("python", "-P", "-c", IMPORTS).stdout)
    allowed = {"taskq", "click", "msgpack", "rich", "markdown_it", "mdurl", "pygments"}
    allowed |= {"cython_runtime"}  # of msgpack's compiled half
    assert {"taskq", "click"} <= {top for top in tops if not top.startswith("_")} <= allowed


@pytest.mark.parametrize("module", ["plyvel", "pysyncobj", "pydantic", "structlog", "psutil"])
def test_nothing_of_a_node_is_there(base: Any, module: str) -> None:
    failed = base.run("python", "-P", "-c", f"import {module}", code=1)
    assert f"No module named '{module}'" in failed.stderr


def test_versions(base: Any) -> None:
    lines = base.run("taskq", "--version").stdout.splitlines()
    assert lines[0].startswith("taskq-cluster ")
    assert lines[1] == f"protocol {taskq.commands.PROTOCOL_VERSION}"


@pytest.mark.parametrize("command", ["up", "demo", "config", "repair x", "broker --help"])
def test_what_needs_a_node_says_what_to_install(base: Any, command: str) -> None:
    failed = base.run("taskq", *command.split(), code=1)
    assert "pip install 'taskq-cluster[broker]'" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_submit_work_result(base: Any) -> None:
    (base.folder / "work.py").write_text(WORK)
    with Broker() as broker:
        variables = base.variables | {"TASKQ_URL": broker.url}
        worker = subprocess.Popen(
            [base.python.parent / "taskq", "worker", "work:greet", "--queue", "greetings"],
            cwd=base.folder,
            env=variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            arguments = ["--json-args", '{"name": "Ann", "times": 2}', "--wait", "--timeout", "30s"]
            done = base.run("taskq", "submit", "greetings", *arguments, TASKQ_URL=broker.url)
            assert done.stdout == '["Hello, Ann","Hello, Ann"]'
            assert "greetings" in base.run("taskq", "top", "--once", TASKQ_URL=broker.url).stdout
        finally:
            worker.send_signal(signal.SIGTERM)
            _, log = worker.communicate(timeout=30)
        assert worker.returncode == 0, log


def test_a_program_with_the_broker_in_memory(base: Any) -> None:
    program = (
        "from taskq.testing import Broker\n"
        "with Broker() as broker:\n"
        "    client = broker.client()\n"
        "    handle = client.submit('q', b'x', delay=9)\n"
        "    broker.advance(9)\n"
        "    worker = client.worker()\n"
        "    worker.complete(worker.claim(['q'])[0], b'done')\n"
        "    print(handle.result().decode())\n"
    )
    assert base.run("python", "-P", "-c", program).stdout == "done\n"
