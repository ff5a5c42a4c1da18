"""`python -m chaos.live.stock_node`: a node whose log is PySyncObj's own, for experiments.

All else is the node as it is; its state is kept by us. This is the switch that exists only here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from chaos.live.ground import Ground
from chaos.live.node import LiveNode
from chaos.live.stock_log import StockLog
from cluster.node import main
from cluster.storage import directory as data_directory
from cluster.storage.directory import DataDirectory
from cluster.storage.files import is_missing_or_empty
from cluster.storage.log_store import LogStore
from cluster.storage.member_stores import MemberStores
from cluster.storage.state_store import StateStore


class StockGround(Ground):
    """Processes whose log is PySyncObj's own."""

    form = "processes, stock journal"

    def node(self, name: str, home: Path, settings: Mapping[str, Any], port: int) -> LiveNode:
        """The member's node, not running."""
        host = self.host(name)
        return LiveNode(home, settings, host=host, port=port, module="chaos.live.stock_node")


def open_stock(directory: DataDirectory, *, listed: bool) -> MemberStores:
    """In place of `open_members`: the log is what its file says."""
    if is_missing_or_empty(directory.state):
        StateStore.create(directory.state)
    log = StockLog(directory.log)
    state = StateStore.open_checked(StateStore.check(directory.state))
    return MemberStores(cast(LogStore, log), state, "")


if __name__ == "__main__":
    vars(data_directory)["open_members"] = open_stock
    main()
