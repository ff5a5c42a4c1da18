"""Looks after the certificates of a running node: takes over changed files, tells of their end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from cluster.certificates.errors import CertificatesRefused
from cluster.watched_files import WatchedFiles

if TYPE_CHECKING:
    from cluster.certificates.port_certificates import PortCertificates

log = structlog.get_logger(__name__)

# Time enough to get a new one by hand, holidays included.
WARN_BEFORE = timedelta(days=14)
# How often that is looked at, and how often it is said again. Seconds.
LOOK_SECS = 3600.0
AGAIN = timedelta(days=1)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CertificateCare:
    """See the module. `api` and `raft` are the certificates of these ports, where they have some;
    `now()` is the wall clock."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        api: PortCertificates | None,
        raft: PortCertificates | None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.ports = [port for port in (api, raft) if port is not None]
        self._api = api
        self._loop = loop
        self._now = now
        self._told: dict[str, datetime] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def for_clients(self) -> Callable[[], ssl.SSLContext] | None:
        """What gives the context of a handshake with a client; None where there is no TLS."""
        api = self._api
        return None if api is None else lambda: api.server

    @property
    def for_anyone(self) -> Callable[[], ssl.SSLContext] | None:
        """The same for who need not show a certificate."""
        api = self._api
        return None if api is None else lambda: api.anyone

    def start(self, files: WatchedFiles) -> None:
        """From now on changes are taken over."""
        for port in self.ports:
            paths = port.files.settings().values()
            name = f"the certificates of {port.files.group}"
            files.watch(name, paths, partial(self._changed, port), port.look)
        if self.ports:
            self._look()

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _changed(self, port: PortCertificates) -> None:
        group = port.files.group
        try:
            port.reload()
        except CertificatesRefused as refused:
            log.error(
                "new certificates were refused, the old ones stay", group=group, why=str(refused)
            )
            return
        ends = {setting: f"{end:%Y-%m-%d}" for setting, end in port.expiries().items()}
        log.info("new certificates were taken over", group=group, expire=ends)
        for setting in ends:
            self._told.pop(setting, None)
        self.warn()

    def _look(self) -> None:
        self.warn()
        self._timer = self._loop.call_later(LOOK_SECS, self._look)

    def warn(self) -> None:
        """Logs what ends soon, or has ended; each once a day."""
        now = self._now()
        for port in self.ports:
            for setting, end in port.expiries().items():
                told = self._told.get(setting)
                if end - now > WARN_BEFORE or (told is not None and now - told < AGAIN):
                    continue
                self._told[setting] = now
                text = "a certificate has expired" if end <= now else "a certificate expires soon"
                days = round((end - now) / timedelta(days=1), 1)
                log.warning(text, setting=setting, expires=f"{end:%Y-%m-%d %H:%M} UTC", days=days)
