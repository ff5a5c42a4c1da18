"""What connections may cost this node, each number with its reason.

Sizes in bytes, times in seconds. `quota_of` takes from the configuration what an operator may
change; the rest follows from it or is fixed here.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.config.model import Config
from taskq.limits import KIB, MIB

# A request costs more than its bytes: its objects, its place in the log, its answer.
REQUEST_COST = KIB
# So much of an incomplete frame within one idle time-out counts as a sign of life: a large frame
# over a slow link is not cut, while a trickle of bytes does not hold a connection.
PROGRESS_SIZE = 64 * KIB
# Requests of one connection that are started in one round of the loop: others get their turn.
TAKE_COUNT_MAX = 1024
# What one connection may add to what it holds in one round of the loop, but for the last request or
# answer: a result of 1 MiB takes a millisecond, and a packet can ask for a thousand of them.
ROUND_SIZE_MAX = 2 * MIB
# Connections that have not said a good Hello yet. They have places of their own, so that strangers
# never take those of clients; when all are taken the one that waits longest goes, because a client
# says Hello at once. As many as the kernel hands over in one round (`tcp.BACKLOG`).
NEWCOMER_COUNT_MAX = 1024
# Longest time to say Hello.
HELLO_SECS = 10.0
# A wrong key is answered after so long; there is one try on each connection.
REFUSAL_SECS = 0.25
# All parked claims and queries of the node: about 1 KiB each.
WAITING_COUNT_MAX = 50_000


@dataclass(frozen=True)
class Quota:
    """See the module."""

    connection_count_max: int = 1000
    request_count_max: int = 1024  # unanswered, per connection
    connection_size_max: int = 64 * MIB  # unanswered and unread, per connection
    node_size_max: int = 256 * MIB  # the same over all connections
    idle_secs: float = 30.0
    newcomer_count_max: int = NEWCOMER_COUNT_MAX
    hello_secs: float = HELLO_SECS
    refusal_secs: float = REFUSAL_SECS
    waiting_count_max: int = WAITING_COUNT_MAX

    @property
    def fair_size(self) -> int:
        """What each connection may hold even while the node as a whole holds too much."""
        return self.node_size_max // self.connection_count_max

    @property
    def write_high(self) -> int:
        """Bytes that the peer has not read from which on no more is read from it. Half of the
        connection's size at most, so that unread answers alone never stop it for good."""
        return min(256 * KIB, self.connection_size_max // 2)


def quota_of(config: Config) -> Quota:
    """The quota that the configuration sets."""
    broker = config.broker
    return Quota(
        connection_count_max=broker.max_connections,
        request_count_max=broker.max_requests_in_flight,
        connection_size_max=broker.max_bytes_in_flight,
        # Four connections may be at their limit at once before all have to wait.
        node_size_max=4 * broker.max_bytes_in_flight,
        idle_secs=broker.connection_timeout_secs,
    )
