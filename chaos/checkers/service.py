"""When there was service, by what was acknowledged; and that it came back."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise

from chaos.checkers.evidence import Evidence
from chaos.history import WRITES

# While acknowledgements are not farther apart, somebody leads and its time advances. A round of the
# driver that is longer counts as no more than this.
APART_SECS = 0.5
# The same where a fault is under way: who leads next goes on from the last entry, so that cluster
# time has lost what lies between two of them.
APART_IN_FAULT_SECS = 0.1


class Service:
    """The acknowledged writes of a history, and how much of the time had service."""

    def __init__(self, evidence: Evidence) -> None:
        calls = [
            call for call in evidence.history.calls if call.ok and call.kind in (*WRITES, "claim")
        ]
        self.acks = sorted(call.end for call in calls)
        self._last_start = max((call.start for call in calls), default=0.0)
        served = [
            _served(after - before, fault=evidence.fault_between(before, after))
            for before, after in pairwise(self.acks)
        ]
        self._served = list(accumulate(served, initial=0.0))

    def secs(self, since: float, until: float) -> float:
        """How many seconds had service, between the first and the last acknowledgement in since ..
        until."""
        first, last = bisect_left(self.acks, since), bisect_right(self.acks, until) - 1
        return self._served[last] - self._served[first] if first < last else 0.0

    def begun_after(self, moment: float) -> bool:
        """Whether something that was asked after `moment` was acknowledged."""
        return self._last_start > moment


def _served(gap: float, *, fault: bool) -> float:
    return gap if gap <= (APART_IN_FAULT_SECS if fault else APART_SECS) else 0.0


def service_returns(evidence: Evidence) -> Iterator[str]:
    """P2: after each fault that lasted, something is acknowledged that was asked after it began.
    How long that took is measured by `chaos.live.gaps`."""
    service = Service(evidence)
    for kill in evidence.history.kills:
        if kill.over and not service.begun_after(kill.at):
            yield f"nothing that was asked after the {kill.phase} at {kill.at:.3f} was acknowledged"
