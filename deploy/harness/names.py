"""Names of pods and Services for the programs of this process, as the cluster's DNS tells them.

Containers ask the engine. Here, `socket.getaddrinfo` is replaced while a block runs: what chaos'
clients dial are names, whose addresses change with every pod.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# The addresses of a name, empty where it has none now; None where the name is nobody's here.
Lookup = Callable[[str], Sequence[str] | None]


@contextmanager
def known_here(lookup: Lookup) -> Iterator[None]:
    """In the block `lookup` answers before the system does."""
    system = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *words: Any, **options: Any) -> Any:
        found = lookup(host) if isinstance(host, str) else None
        if found is None:
            return system(host, port, *words, **options)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [one for address in found for one in system(address, port, *words, **options)]

    socket.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        socket.getaddrinfo = system
