"""The pages on backups and on a lost quorum, followed step by step by an operator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.docs.conftest import DOCS, beside
from tests.integration.docs.page import Reader

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("page", ["backup", "quorum-lost"])
def test_the_page(reader: Callable[..., Reader], page: str) -> None:
    somebody = reader(PATH=beside())
    somebody.follow((DOCS / "operations" / f"{page}.md").read_text("utf-8"))
    assert any(line.startswith("taskq ") for line in somebody.commands)
