"""Whether what a node uses stays bounded over a long run. Pure.

The rule, for each node and gauge: the run is cut in three. The first third is left out: caches
fill, and retention has not come round yet. In the last third the most is no more than in the
middle third by a fifth of that and the gauge's slack; what grows steadily from a small start grows
by half. A run shorter than ten minutes is all warming up, and not judged by this. And at no time is
it more than the gauge's ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MIB = 1 << 20
GROWTH_MAX = 1.2
# Retention by size, the memory of ids for two minutes, and tables merged each minute come round
# twice in a third of it.
JUDGED_SECS_MIN = 600.0


class Gauge(NamedTuple):
    """What is measured. `slack`: of one measurement against another, in the same unit."""

    title: str
    slack: int
    ceiling: int
    unit: int = 1


# Memory: what design promises a node with a million waiting tasks. Log: a checkpoint comes at 64
# MiB, cuts but for a tail of 64 MiB, and deleted tables stay until they are merged. Disk: the log,
# what retention keeps, and as much again that is not merged yet; what a node set aside because it
# was damaged is kept for whoever looks into it, and not counted.
GAUGES: Mapping[str, Gauge] = {
    "memory": Gauge("Memory (RssAnon), MiB", 16 * MIB, 300 * MIB, MIB),
    "files": Gauge("Open files", 50, 1_000),
    "log": Gauge("Log on disk, MiB", 64 * MIB, 512 * MIB, MIB),
    "disk": Gauge("Disk, MiB", 128 * MIB, 1024 * MIB, MIB),
}


class Use(NamedTuple):
    """The most of a gauge: at any time, in the middle third, in the last."""

    most: int
    middle: int
    last: int


def use_of(values: Sequence[int]) -> Use:
    """Of values at equal distances; at least three."""
    third = len(values) // 3
    return Use(max(values), max(values[third : 2 * third]), max(values[2 * third :]))


def unbounded(name: str, node: str, use: Use, secs: float) -> list[str]:
    """A sentence for each part of the rule that is broken, in a run of so many seconds."""
    gauge = GAUGES[name]
    found = []
    if use.most > gauge.ceiling:
        found.append(f"{name} of {node}: {use.most:,}, more than {gauge.ceiling:,}")
    if secs >= JUDGED_SECS_MIN and use.last > use.middle * GROWTH_MAX + gauge.slack:
        found.append(f"{name} of {node} grows: {use.middle:,} in the middle, {use.last:,} at last")
    return found
