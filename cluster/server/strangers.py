"""Who knocks without a valid key: a line in the log, then one a minute at most, which counts the
rest, so that nobody fills a disk by knocking."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

log = structlog.get_logger(__name__)

QUIET_SECS = 60.0
WITHOUT_KEY = "a client without a valid key was kept out"
WITH_TLS = "a client was kept out: it speaks TLS, and this port does not"


def address_of(name: Any) -> str:
    """The address of a peer, as its transport names it."""
    if not isinstance(name, tuple):
        return str(name or "")
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Strangers:
    """See the module."""

    def __init__(self, loop: asyncio.AbstractEventLoop, text: str = WITHOUT_KEY) -> None:
        self._loop = loop
        self._text = text
        self._quiet_until = 0.0
        self._unsaid = 0

    def note(self, address: str, why: str) -> None:
        """Somebody at `address` was kept out."""
        now = self._loop.time()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        self._quiet_until = now + QUIET_SECS
        more = {"others_since": self._unsaid} if self._unsaid else {}
        log.warning(self._text, address=address, why=why, **more)
        self._unsaid = 0
