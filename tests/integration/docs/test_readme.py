"""README.md: its tour, followed in an empty folder; the commands that it names; its links."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from taskq.cli.main import cli
from tests.integration.docs.conftest import DOCS, ROOT, beside
from tests.integration.docs.page import Reader

README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def test_the_tour_works(reader: Callable[..., Reader]) -> None:
    tour = README.partition("\n## Five minutes\n")[2].partition("\nNow kill a node")[0]
    visitor = reader(PATH=beside())
    visitor.follow(tour)
    assert {"taskq up --nodes 3", "python visit.py", "taskq top"} <= set(visitor.commands)


def test_commands_of_the_page_exist() -> None:
    lines = re.findall(r"^(?:\$ )?taskq (.*?)(?: +#.*)?$", README, re.MULTILINE)
    assert len(lines) > 6
    for line in lines:
        words = [word for word in line.split() if word.islower() and not word.startswith("-")]
        group = words[:2] if words[0] in ("queues", "dead", "cluster") else words[:1]
        assert CliRunner().invoke(cli, [*group, "--help"]).exit_code == 0, line


def test_what_operators_do_is_linked_and_not_said_to_be_missing() -> None:
    pages = sorted((DOCS / "operations").glob("*.md"))
    assert [page.name for page in pages if f"(docs/operations/{page.name})" not in README] == []
    missing = README.partition("\n## What is not there yet\n")[2].partition("\n## ")[0]
    assert "Unique tasks" in missing
    assert "members" not in missing


def test_first_screen_says_what_matters() -> None:
    first_screen = "\n".join(README.splitlines()[:24])
    for words in ("make run", "make test", "At least once: your function may run twice;"):
        assert words in first_screen
    assert "exactly " + "once" not in README.lower()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE)
            assert anchor in {_anchor(title) for title in titles}, target


def _anchor(title: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
