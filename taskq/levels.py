"""Feature levels: what all members must be able to do before `apply` may do anything new (A14).

A cluster has a level, which is part of its replicated state, and every entry and state of that
level can be read by each version that runs it. A version runs a range of levels. While old and new
versions work side by side, the level stays what it is; `taskq cluster upgrade` raises it when all
members can. Nothing lowers it.

Whoever changes what an entry does gives the change the next number here, and the machine does the
new thing only where `State.runs(number)`. A new command names its level in the registry (`since`)
and is not proposed before. A field is never added to a command that goes through the log: it gets
another command, with a code of its own.
"""

from __future__ import annotations

from typing import NamedTuple

# What came with each level, in words for people; the numbers are those of this version. A level is
# dropped (from the low end) only when no cluster that runs it may be upgraded any more.
FEATURES = {1: "the first version"}
LEVEL_MIN = min(FEATURES)
LEVEL_MAX = max(FEATURES)
# The level of a state that names none. It is also the first byte of an entry of that level.
LEVEL_FIRST = 1
# That byte ends there.
LEVEL_LIMIT = 255


class Build(NamedTuple):
    """What a node runs: the package's version, and the levels that it can run."""

    version: str
    level_min: int = LEVEL_MIN
    level_max: int = LEVEL_MAX

    def runs(self, level: int) -> bool:
        """Whether it can be a member of a cluster of this level."""
        return self.level_min <= level <= self.level_max

    def text(self) -> str:
        """Such as "taskq 0.1.0, which runs feature level 1"."""
        levels = f"{self.level_min} to {self.level_max}"
        if self.level_min == self.level_max:
            levels = str(self.level_max)
        return f"taskq {self.version}, which runs feature level {levels}"
