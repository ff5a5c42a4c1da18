"""Raises the cluster's feature level: at its founding, and when an operator wants it (A14).

A level may be raised only when every member, and who is to be added, has said, on its present
connection, that it runs it: who was not heard from may be of an older version, which would stop at
the entry. A node is added only when it has said that it runs the level there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from cluster.replication.packing import Sink
from cluster.replication.sinks import Told
from taskq.commands import RaiseLevel
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.levels import Build
from taskq.machine.machine import Machine
from taskq.registry import LATER

log = structlog.get_logger(__name__)

Builds = Mapping[str, Build | None]

# The first leader of a new cluster waits so long for word from all. A cluster that is founded
# without it is at the first level, and an operator raises it. Seconds.
FOUNDING_SECS = 10.0
RETRY_MS = 300
# Entry 1 is the same in every log.
FIRST_NO_OP = 2


def highest_common(builds: Builds) -> int:
    """The highest level that all of them can run; 0 where one was not heard from."""
    known = [build.level_max for build in builds.values() if build is not None]
    return min(known) if len(known) == len(builds) else 0


def obstacle(level: int, builds: Builds) -> str:
    """Why not all of them can run that level; empty where they can."""
    silent = sorted(node_id for node_id, build in builds.items() if build is None)
    if silent:
        return (
            f"{', '.join(silent)} cannot be asked now, and may be of a version that cannot run it"
        )
    unfit = [
        f"{node_id} is {build.text()}"
        for node_id, build in sorted(builds.items())
        if build is not None and not build.runs(level)
    ]
    return "; ".join(unfit)


def unfit(node_id: str, level: int, builds: Mapping[str, Build]) -> str | None:
    """Why a node cannot be added to a cluster of that level; empty where it can, None where it was
    not heard from on its present connection."""
    if node_id not in builds:
        return None
    why = obstacle(level, {node_id: builds[node_id]})
    return why and f"{why}, and the cluster is at {level}"


def too_early(command: Any, level: int) -> Refusal | None:
    """The refusal of a command that members of an older version could not apply, else None."""
    since = LATER.get(type(command), 0)
    if since <= level:
        return None
    name = type(command).__name__
    text = f"{name} comes with feature level {since}, and the cluster is at {level}"
    return refuse(ErrorCode.UNKNOWN_MESSAGE, f"{text}: taskq cluster upgrade raises it")


class FeatureLevel:
    """See the module. `machine()`: the applied state; `builds()`: of all members and of who is to
    be added, None for one that was not heard from on its present connection; `propose`: as
    `Replica.propose`."""

    def __init__(
        self,
        machine: Callable[[], Machine],
        builds: Callable[[], Builds],
        propose: Callable[[Any, Sink, Any], None],
    ) -> None:
        self._machine = machine
        self._builds = builds
        self._propose = propose
        self._founding_until = 0.0
        self._raises = 0  # that wait for their entry

    def under_way(self) -> Refusal | None:
        """Why no node may begin to be added now: it was not asked whether it runs what comes."""
        if not self._raises:
            return None
        return refuse(ErrorCode.UNAVAILABLE, "the feature level is being raised", RETRY_MS)

    def _raise(self, level: int, done: Callable[[Any], None]) -> None:
        """`done(value)`: None, or a `Refusal`."""

        def delivered(value: Any) -> None:
            self._raises -= 1
            done(value)

        self._raises += 1
        self._propose(RaiseLevel(level), Told(delivered), None)

    # --- founding ---------------------------------------------------------------------------------

    def leads(self, noop_index: int, now: float) -> None:
        """This node leads from now on, its no-op is the entry `noop_index`; or (0) no more. Whoever
        has the first no-op of a cluster is its first leader, and proposes the level before anything
        else if it has heard from all. Any later one leaves it alone, also where nothing was ever
        done: the members may have been upgraded since."""
        self._founding_until = now + FOUNDING_SECS if noop_index == FIRST_NO_OP else 0.0
        self.look(now)

    def look(self, now: float) -> None:
        """Twice a second."""
        if now >= self._founding_until:
            return
        highest = highest_common(self._builds())
        if highest:
            self._founding_until = 0.0
            if highest > self._machine().level:
                self._raise(highest, _founded)

    # --- what an operator wants -------------------------------------------------------------------

    def raise_to(self, level: int, sink: Sink, tag: Any) -> None:
        """On the leader: raises the level to `level`, 0: to the highest that all of them can run.
        Delivers (the level before, the level) when the entry is applied, or a `Refusal`."""
        current, builds = self._machine().level, self._builds()
        target = level or highest_common(builds) or current + 1

        def done(value: Any) -> None:
            sink.deliver(tag, value if isinstance(value, Refusal) else (current, target))

        why = obstacle(target, builds)
        if target < current:
            why = f"a level is never lowered (to {target})"
        if target == current:
            sink.deliver(tag, (current, current))
        elif why:
            text = f"the feature level stays at {current}: {why}"
            sink.deliver(tag, refuse(ErrorCode.WRONG_STATE, text))
        else:
            log.warning("the feature level is raised", level=target, before=current)
            self._raise(target, done)


def _founded(value: Any) -> None:
    """Whatever becomes of the founding entry, the cluster serves."""
    if isinstance(value, Refusal):
        log.warning("the feature level was not raised at founding", error=value.message)
