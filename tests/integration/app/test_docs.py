"""Every snippet of docs/app.md runs as it stands, with the worker that the page starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.integration.app.conftest import ROOT, Shop

PAGE = (ROOT / "docs" / "app.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMAND = re.search(r"^\$ taskq worker (.*)$", PAGE, re.MULTILINE)


def test_the_page_runs(shop: Shop) -> None:
    module, *programs = SNIPPETS
    assert len(programs) == 4
    (shop.folder / "shop.py").write_text(module)
    assert COMMAND is not None
    target, *options = COMMAND[1].split()
    shop.work(*options, target=target)
    outputs = []
    for number, program in enumerate(programs):
        path = shop.folder / f"program{number}.py"
        path.write_text(program)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path)],
            cwd=shop.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TASKQ_URL": shop.url},
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert (done.returncode, done.stderr) == (0, ""), program
        outputs.append(done.stdout.splitlines())
    call, _, result, state, cancelled = outputs[0]
    assert (call, result, state, cancelled) == ("3", "3", "COMPLETED", "cancelled")
    assert outputs[1] == [
        "shop.send_mail: argument lines[0]['sent'] is a set, which json cannot carry"
    ]
    assert outputs[2] == ["1000 0 8"]
    assert outputs[3] == ["fetched https://example.org", "1", "42"]
