"""How Raft messages reach other nodes. A group of one has nobody to talk to."""

from __future__ import annotations

from typing import Any

from pysyncobj.node import Node
from pysyncobj.transport import Transport


class NoTransport(Transport):  # type: ignore[misc]  # PySyncObj is not typed
    """For a group of one: always ready, never sends. A message would be a bug."""

    ready = True

    def tryGetReady(self) -> None:  # noqa: N802  # PySyncObj's name
        """Nothing to bind."""

    def waitReady(self) -> None:  # noqa: N802
        """Nothing to wait for."""

    def addNode(self, node: Node) -> None:  # noqa: N802
        raise AssertionError(f"a group of one has no node {node}")

    dropNode = addNode  # noqa: N815

    def send(self, node: Node, message: Any) -> bool:
        raise AssertionError(f"a group of one sends nothing to {node}")

    def destroy(self) -> None:
        """Nothing to close."""
