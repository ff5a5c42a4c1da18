"""A client's channel to its cluster: makes the link for the event loop and process that ask.

A link belongs to one loop. After a fork, or in a second `asyncio.run`, the channel makes a new one;
what it had in a parent process it neither uses nor closes.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from taskq.client.address import URL_DEFAULT, URL_VARIABLE, Address, parse_url
from taskq.client.credential import Credential
from taskq.client.link import Link, Listener
from taskq.client.tls import ClientTls, TlsFiles
from taskq.errors import ConnectionFailed

# Links of a parent process: kept, so that no finaliser runs on sockets that are the parent's.
_inherited: list[Link] = []


class Channel:
    """Where to send, and the link in use. `timeout` in seconds is the default of each call; `only`:
    to this node and no other, whoever leads."""

    def __init__(
        self,
        url: str | None,
        timeout: float,
        name: str | None,
        tls: TlsFiles | ssl.SSLContext | None,
        only: Address | None = None,
    ) -> None:
        self._link: Link | None = None
        self._tls: ClientTls | None = None
        self._pid = os.getpid()
        self._closed = False
        self._target = parse_url(url or os.environ.get(URL_VARIABLE) or URL_DEFAULT)
        tls = tls or TlsFiles()
        if self._target.tls:
            self._tls = ClientTls(tls, self._target.files, os.environ)
        elif isinstance(tls, ssl.SSLContext) or any(tls):
            raise ValueError("url: what was given for TLS needs taskqs:// instead of taskq://")
        self._key = Credential(self._target.key, os.environ)
        self._stays = only is not None
        if only is not None:
            self._target = replace(self._target, addresses=(only,))
        # What cannot be encoded would break the greeting, not the call.
        self._name = (name or f"pid {self._pid}")[:200].encode("utf-8", "replace").decode()
        self.timeout = timeout
        # Weak: a link lives until it is closed and must not keep its users alive.
        self.listeners: WeakSet[Listener] = WeakSet()

    def __str__(self) -> str:
        return ",".join(map(str, self._target.addresses))

    def send(
        self,
        command: Any,
        timeout: float | None = None,
        *,
        wait: float = 0.0,
        retry_full: bool = False,
        late: Callable[[Any], None] | None = None,
    ) -> asyncio.Future[Any]:
        """The future of the reply to a command; see `Link.send`.

        `wait` are seconds that the node may park the request; the deadline is later by them.
        """
        link = self._link
        # In a forked child no loop of the parent runs: this tells that case, too.
        if link is None or link.loop is not asyncio.get_running_loop():
            link = self._new_link()
        seconds = (self.timeout if timeout is None else timeout) + wait
        return link.send(command, seconds, retry_full=retry_full, late=late)

    @property
    def connected(self) -> bool:
        """Whether a node is listening to us now."""
        return self._link is not None and self._link.connected

    async def close(self) -> None:
        """Ends open calls and the connection. A second close does nothing."""
        link = self.end()
        if link is not None and link.loop is asyncio.get_running_loop():
            await link.close()
        elif link is not None:
            link.end()  # its loop stands still: nobody could run it meanwhile

    def end(self) -> Link | None:
        """Lets nothing be sent any more; the link that is left to close, on its own loop."""
        self._closed = True
        link, self._link = self._link, None
        if link is None or self._pid != os.getpid() or link.loop.is_closed():
            return None
        return link

    def __del__(self) -> None:
        link: Link | None = getattr(self, "_link", None)
        if link is None or link.closed or self._pid != os.getpid() or link.loop.is_closed():
            return
        warnings.warn(f"unclosed client of {self}", ResourceWarning, stacklevel=2, source=self)
        link.loop.call_soon_threadsafe(link.end)

    def _new_link(self) -> Link:
        if self._closed:
            raise ConnectionFailed("the client is closed")
        loop = asyncio.get_running_loop()
        old, pid = self._link, os.getpid()
        if old is not None:
            if self._pid != pid:
                _inherited.append(old)
            elif old.loop.is_running():
                raise RuntimeError("this AsyncClient is in use on another event loop")
        self._pid = pid
        self._link = Link(
            *(loop, self._target, self._key, self._name, self._tls, self.listeners),
            stays=self._stays,
        )
        return self._link
