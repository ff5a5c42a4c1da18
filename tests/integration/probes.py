"""Asks a node's monitoring port, as a probe does."""

from __future__ import annotations

import asyncio
import time

POLL_SECS = 0.05


async def asked(address: str, path: str, timeout_secs: float = 5.0) -> tuple[int, str]:
    """Status and text of a page. Raises OSError, TimeoutError."""
    async with asyncio.timeout(timeout_secs):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body.strip()


async def until(address: str, path: str, status: int, within_secs: float) -> tuple[float, str]:
    """Asks until the status is that; seconds it took, and the text. Fails the test else."""
    began = time.monotonic()
    while (found := await asked(address, path))[0] != status:
        assert time.monotonic() - began < within_secs, f"{path} never said {status}: {found}"
        await asyncio.sleep(POLL_SECS)
    return time.monotonic() - began, found[1]
