"""Every row of the table of attacks, for seconds: nobody gets in, and nothing is worse after."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chaos.attack import page
from chaos.attack.__main__ import SHORT
from chaos.attack.rows import ROWS
from chaos.attack.run import run


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nobody_gets_in(tmp_path: Path) -> None:
    told = asyncio.run(run(tmp_path, ROWS, SHORT, beside=True))
    assert not page.wrong(told), page.wrong(told)
    assert [row["name"] for row in told["rows"]] == [row.name for row in ROWS]
    assert all(row["attempts"] == row["refused"] > 0 for row in told["rows"])
    assert all(row["served"] for row in told["rows"])
