"""Whether this node lives, has started, and can serve: what probes ask."""

from __future__ import annotations

from cluster.server.replica import Replica


class Health:
    """`started` and `stopping` are set by the node. Each question is answered with "" for yes, or
    with what is missing."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.started = False
        self.stopping = False

    def live(self) -> str:
        """Who can ask this has a loop that turns; nothing else may restart a node that heals."""
        return ""

    def started_up(self) -> str:
        """The log is replayed and the ports are open."""
        return "" if self.started else "starting"

    def ready(self) -> str:
        """Requests sent here would be served."""
        if not self.started:
            return "starting"
        if self.stopping:
            return "stopping"
        refusal = self._replica.unavailable()
        if refusal is not None:
            return refusal.message
        return "" if self._replica.leader else "no leader is known"
