"""The page on probes, followed step by step by an operator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.docs.conftest import DOCS, beside
from tests.integration.docs.page import Reader


@pytest.mark.slow
def test_the_page(reader: Callable[..., Reader]) -> None:
    somebody = reader(PATH=beside())
    somebody.follow((DOCS / "operations" / "health.md").read_text("utf-8"))
    assert sum(line.startswith("curl ") for line in somebody.commands) == 4
