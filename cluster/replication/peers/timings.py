"""How long things between nodes may take, and how much they may hold. Passed by argument."""

from __future__ import annotations

from dataclasses import dataclass

from taskq.limits import MIB


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, bytes and counts, each with its reason."""

    # A vanished address answers nothing: the name may point elsewhere by the next dial.
    dial_secs: float = 1.5
    # Two round trips and an HMAC each; TLS before it has the same time again.
    handshake_secs: float = 5.0
    # Drawn between the two before every dial after the first, so that nodes do not dial in step;
    # a peer that is back is dialled within 300 ms (A13).
    redial_secs_min: float = 0.05
    redial_secs_max: float = 0.25
    # A connection on which unsent bytes did not move for so long is dropped: Raft's retries would
    # queue up behind them.
    stall_secs: float = 10.0
    # What waits for one peer: sixteen batches of entries, or two frames of the largest size.
    unsent_size_max: int = 64 * MIB
    # Connections that have proved nothing yet; one more and the oldest goes.
    stranger_count_max: int = 64
