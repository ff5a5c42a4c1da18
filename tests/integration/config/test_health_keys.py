"""How long a node may stand still before it is not alive."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.log_store import LogStore
from tests.integration.config.live_node import running
from tests.integration.config.tested_keys import acts
from tests.integration.probes import asked, until


@acts("monitoring.stall_limit_secs")
async def test_a_disk_that_hangs_is_seen_after_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    write: Any = LogStore.write

    def hanging(store: LogStore, batch: Any) -> None:
        answers.wait(20)
        write(store, batch)

    async with running(tmp_path, {"monitoring.stall_limit_secs": 1}) as node:
        address = node.addresses.monitoring
        assert (await asked(address, "/livez"))[0] == 200
        monkeypatch.setattr(LogStore, "write", hanging)
        try:
            submit = asyncio.create_task(node.client.submit("q", b""))
            secs, why = await until(address, "/livez", 503, 10)
            assert "a write of the log does not end" in why
            assert secs >= 1
            assert not submit.done()
        finally:
            answers.set()
        await submit
        await until(address, "/livez", 200, 2)
