"""What a node knows of its own progress at one moment: what `replication` tells, and `server`
judges for the probes."""

from __future__ import annotations

from typing import NamedTuple


class Vitals(NamedTuple):
    """Indices are those of the log. `recovery`: what the node's start is about, or empty when what
    its log held is replayed. `obstacle`: why the state cannot be read just now (founding, a disk
    that failed, removed from the cluster), or empty; the rest says nothing then. `leader`: who
    takes commands, as far as known, or empty; `leads`: this node.

    `rounds`: how often the driver has turned. `writes`: for log and state, whether a write is under
    way, and how many came to an end. `target`: the leader's commit index, as heard last.
    `lost_log`: the node counts for nothing until it is whole (A8), or is no member yet (A10).
    `owed`: entries wait to be applied that could be: committed ones, and on a leader with a
    majority to take them, proposed ones. `moved`: whatever changes while entries make their way."""

    recovery: str = ""
    obstacle: str = ""
    leader: str = ""
    leads: bool = False
    rounds: int = 0
    writes: tuple[tuple[bool, int], tuple[bool, int]] = ((False, 0), (False, 0))
    applied: int = 0
    target: int = 0
    lost_log: bool = False
    owed: bool = False
    moved: tuple[int, ...] = ()
