"""PySyncObj's idea of a transport. Ours is `peers`, and what is said on it `consensus.py`."""

from __future__ import annotations

from typing import Any

from pysyncobj.node import Node
from pysyncobj.transport import Transport


class Courier(Transport):  # type: ignore[misc]  # PySyncObj is not typed
    """Always ready, never used: every method of PySyncObj that would send is overridden, so that a
    message here is a bug."""

    ready = True

    def tryGetReady(self) -> None:  # noqa: N802  # PySyncObj's name
        """Nothing to bind."""

    def waitReady(self) -> None:  # noqa: N802
        """Nothing to wait for."""

    def addNode(self, node: Node) -> None:  # noqa: N802
        raise AssertionError(f"PySyncObj adds {node}")

    dropNode = addNode  # noqa: N815

    def send(self, node: Node, message: Any) -> bool:
        raise AssertionError(f"PySyncObj sends {message} to {node}")

    def destroy(self) -> None:
        """Nothing to close."""
