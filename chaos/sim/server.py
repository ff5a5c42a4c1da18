"""The server of a simulated node: the real one, but for its port, which `lines` stands in for."""

from __future__ import annotations

from typing import Any

from cluster.server.access import Access
from cluster.server.quota import Quota
from cluster.server.tcp import BrokerServer

# Small, so that connections are closed for it in a minute.
QUOTA = Quota(idle_secs=8.0)


def serve(replica: Any) -> BrokerServer:
    """On the running loop."""
    server = BrokerServer(replica, Access(enabled=False), QUOTA, on_failure=replica.fail)
    server.sessions.start()
    return server
