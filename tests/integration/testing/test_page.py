"""The snippets of docs/howto/testing.md, as they are written there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "testing.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)


def test_snippets(pytester: pytest.Pytester) -> None:
    plain = [text for text in SNIPPETS if "Broker()" in text]
    (conftest,) = [text for text in SNIPPETS if "pytest_plugins" in text]
    suite, app = [text for text in SNIPPETS if "def test_" in text]
    assert len(plain) + 3 == len(SNIPPETS) == 5
    pytester.makeconftest(conftest)
    tests = [
        f"def test_snippet_{number}():\n{textwrap.indent(text, '    ')}"
        for number, text in enumerate(plain)
    ]
    pytester.makepyfile(test_plain="\n".join(tests), test_suite=suite, test_app=app)
    outcome = pytester.inline_run("-q", "-p", "no:asyncio")
    outcome.assertoutcome(passed=5)
