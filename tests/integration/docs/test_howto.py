"""The how-to pages, each followed by a reader who has a broker and `TASKQ_URL`, in an empty folder.

docs/howto/testing.md needs no broker: tests/integration/testing/test_page.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.docs.conftest import DOCS, beside
from tests.integration.docs.page import Reader
from tests.integration.serving import serving_node

PAGES = {path.stem: path for path in (DOCS / "howto").glob("*.md") if path.stem != "testing"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that serves the readers of all pages; they use other queues."""
    with serving_node(tmp_path_factory.mktemp("node")) as node:
        yield node.url


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page(reader: Callable[..., Reader], url: str, name: str) -> None:
    somebody = reader(PATH=beside(), TASKQ_URL=url)
    somebody.follow(PAGES[name].read_text("utf-8"))
    assert any(line.startswith("taskq worker ") for line in somebody.commands)
