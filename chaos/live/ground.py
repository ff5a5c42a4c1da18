"""Where the nodes of a cluster under test live: as processes here, or on hosts of our own making.

A ground gives each member its host and makes its node; one that has links between its hosts can cut
and worsen them. `LiveCluster` stands on a ground; nemeses ask it for what it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from chaos.live.node import LiveNode

# What a nemesis may need of a ground, beside starting, killing and pausing nodes.
LINKS = "links"  # packets between hosts can be dropped and held up
SHIM = "shim"  # a library can be put in front of libc in a node's process
FOLDER = "folder"  # a node's files can be read and written from here

# (from, to): names of members, one direction.
Way = tuple[str, str]
# In the place of a member's name: whoever is outside and talks to members.
CLIENTS = "clients"
# Mends what was done, and nothing else; once.
Mend = Callable[[], None]


class Links(Protocol):
    """The ways between the members' hosts. Clients reach every host, unless they are named.

    What is done lasts until it is mended; several harms may lie on one way. The calls take up to
    some tenths of a second (they start programs) and may come from any thread. They raise OSError.
    """

    @property
    def means(self) -> str:
        """By what the harm is done, for the results."""

    def cut(self, ways: Iterable[Way]) -> Mend:
        """Packets vanish on these ways; those of open connections, too."""

    def worsen(
        self, ways: Iterable[Way], *, delay_secs: float, jitter_secs: float, loss: float
    ) -> Mend:
        """Packets on these ways, none of which are those of clients, are held up for `delay_secs`
        +- `jitter_secs`, each by itself, and the part `loss` of them vanishes. Of two such harms on
        one way the older counts; a cut counts before both."""


class Ground:
    """Processes on 127.0.0.1: nothing to make, no links. Others derive from it.

    `form` is the word for it in the results.
    """

    form = "processes"
    abilities: frozenset[str] = frozenset({SHIM, FOLDER})

    @property
    def links(self) -> Links:
        """Raises LookupError where there are none."""
        raise LookupError(f"{self.form} have no links of their own")

    def prepare(self, names: Sequence[str]) -> None:
        """Makes hosts for these members, before anything is started. What is left from before
        under the same names is in the way: raises OSError."""

    def host(self, name: str) -> str:
        """The address at which this member listens, and clients reach it."""
        return "127.0.0.1"

    def peer_host(self, name: str) -> str:
        """The name or address by which the other members are told to reach this member."""
        return self.host(name)

    def node(self, name: str, home: Path, settings: Mapping[str, Any], port: int) -> LiveNode:
        """The member's node, not running. `settings` name no host and no folder: those are the
        node's business."""
        return LiveNode(home, settings, host=self.host(name), port=port)

    def close(self) -> None:
        """Removes all that `prepare` made. No node runs any more."""

    def __enter__(self) -> Ground:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
