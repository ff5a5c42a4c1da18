"""Every snippet of docs/client.md runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskq import commands as c
from taskq.results import TaskState
from tests.integration.client.scripted_node import ScriptedNode
from tests.integration.client.test_blocking import ThreadedNode

PAGE = Path(__file__).parents[3] / "docs" / "client.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def completing(node: ScriptedNode):
    """A script under which every task that is waited for has been completed."""

    def script(command):
        if isinstance(command, c.QueryStatus) and command.wait_ms:
            node.ended[command.task_id] = TaskState.COMPLETED
            node.results[command.task_id] = b"done"

    return script


def test_there_are_snippets():
    assert len(SNIPPETS) == 6


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number):
    threaded = ThreadedNode()
    threaded.node.script = completing(threaded.node)
    source = SNIPPETS[number].replace("taskq://127.0.0.1:6379", threaded.node.url)
    try:
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", source],
            env={**os.environ, "TASKQ_URL": threaded.node.url},
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        threaded.stop()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert threaded.node.tasks or "purge" in source
