"""What a worker holds and owes, and when it must speak up; without any clock or I/O.

    claimed --> OPEN --> SENDING --> (answered: gone)
                  |
                  +--> LOST: the token is no longer valid, or the task was given back at the end;
                             its run is being stopped, its outcome is dropped

OPEN is a task in an executor, waiting or running. SENDING: its outcome, or its release, was sent.

Times are seconds of any monotonic clock, given by the caller (`worker.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from taskq.commands import TaskResult
from taskq.results import ClaimedTask

# A heartbeat without an answer is sent again after this long.
HEARTBEAT_REPEAT_SECS = 2.0
# A run is looked at this long after its time-out: the cluster's clock decides, not ours.
TIMEOUT_MARGIN_SECS = 0.25
# Outcomes that wait for an answer beyond this number stop further claims, so that a cluster that
# takes nothing back cannot fill the worker's memory.
OUTCOMES_AHEAD_MAX = 1_000


class Phase(Enum):
    """Where a held task is."""

    OPEN = auto()
    SENDING = auto()
    LOST = auto()


@dataclass(slots=True)
class Holding:
    """A claimed task. `timeout_at`: when to ask whether the run is over its time, or None."""

    task: ClaimedTask
    phase: Phase
    timeout_at: float | None
    cancel_requested: bool = False


class Held:
    """The tasks of one worker by token, and its heartbeats.

    `interval_secs`: longest time between heartbeats.
    """

    def __init__(self, interval_secs: float, now: float) -> None:
        self._interval_secs = interval_secs
        self._holdings: dict[int, Holding] = {}
        self._sending = 0
        self._limited = 0  # with a time-out
        self._heartbeat_at = now + interval_secs
        self._contact_at = now

    def __len__(self) -> int:
        return len(self._holdings)

    def __contains__(self, token: int) -> bool:
        return token in self._holdings

    def get(self, token: int) -> Holding | None:
        """The holding with this token."""
        return self._holdings.get(token)

    def unfinished(self) -> list[Holding]:
        """Everything whose run has not ended, lost ones included."""
        return [held for held in self._holdings.values() if held.phase is not Phase.SENDING]

    def blocked(self) -> bool:
        """Whether so many outcomes wait for an answer that nothing may be claimed."""
        return self._sending >= OUTCOMES_AHEAD_MAX

    def claimed(self, tasks: Iterable[ClaimedTask], now: float) -> list[ClaimedTask]:
        """Takes in an answered claim; those that are new. An answer is contact."""
        new = [task for task in tasks if task.token not in self._holdings]
        for task in new:
            timeout = None if task.timeout_ms is None else now + task.timeout_ms / 1000
            self._limited += timeout is not None
            self._holdings[task.token] = Holding(task, Phase.OPEN, timeout)
            # A shorter lease than any before makes the next heartbeat due earlier.
            self._heartbeat_at = min(self._heartbeat_at, now + task.lease_ms / 3000)
        self.contact(now)
        return new

    def ended(self, token: int) -> ClaimedTask | None:
        """A run has ended, or was not started. Its task where the outcome, or the release, is to be
        sent; None for a lost one, which is forgotten."""
        holding = self._holdings[token]
        if holding.phase is Phase.LOST:
            self._forget(token)
            return None
        holding.phase = Phase.SENDING
        self._sending += 1
        return holding.task

    def give_back(self, token: int) -> None:
        """A task is being released or was lost: what its run still brings is dropped."""
        holding = self._holdings.get(token)
        if holding is not None and holding.phase is Phase.OPEN:
            holding.phase = Phase.LOST

    def answered(self, token: int) -> None:
        """The outcome, or the release, was answered: the task is no longer ours."""
        if token in self._holdings:
            self._sending -= 1
            self._forget(token)

    def _forget(self, token: int) -> None:
        holding = self._holdings.pop(token)
        self._limited -= holding.timeout_at is not None

    # --- contact --------------------------------------------------------------------------------

    def contact(self, now: float) -> None:
        """The cluster answered something."""
        self._contact_at = max(self._contact_at, now)

    def silent_secs(self, now: float) -> float:
        """How long the cluster has answered nothing."""
        return now - self._contact_at

    # --- heartbeats -----------------------------------------------------------------------------

    def tokens(self) -> list[int]:
        """The tokens really held: everything but what is lost, also outcomes not yet answered."""
        return [token for token, held in self._holdings.items() if held.phase is not Phase.LOST]

    def interval_secs(self) -> float:
        """The time between heartbeats: as configured, or a third of the shortest lease held."""
        leases = [held.task.lease_ms / 3000 for held in self._holdings.values()]
        return min([self._interval_secs, *leases])

    def heartbeat_due(self) -> float:
        """When the next heartbeat must go out: also right after a run's time-out, so that a hung
        run is noticed then and not an interval later."""
        if not self._limited:
            return self._heartbeat_at
        timeouts = [
            held.timeout_at + TIMEOUT_MARGIN_SECS
            for held in self._holdings.values()
            if held.timeout_at is not None and held.phase is Phase.OPEN
        ]
        return min([self._heartbeat_at, *timeouts])

    def heartbeat_sent(self, now: float) -> None:
        """A heartbeat goes out now; unless it is answered, the next one follows soon."""
        self._heartbeat_at = now + min(HEARTBEAT_REPEAT_SECS, self.interval_secs())
        for held in self._holdings.values():
            if held.timeout_at is not None and held.timeout_at + TIMEOUT_MARGIN_SECS <= now:
                held.timeout_at = now + HEARTBEAT_REPEAT_SECS

    def heartbeat_answered(
        self, sent_at: float, now: float, invalid: Iterable[int], cancel: Iterable[int]
    ) -> tuple[list[int], list[int]]:
        """Takes in an answer: tokens to stop because they are lost, and those to cancel."""
        self.contact(now)
        self._heartbeat_at = sent_at + self.interval_secs()
        lost = []
        for token in invalid:
            holding = self._holdings.get(token)
            # The outcome of one that is SENDING may have been accepted already, which also ends
            # the token: its own answer says what became of it.
            if holding is not None and holding.phase is Phase.OPEN:
                self.give_back(token)
                lost.append(token)
        return lost, [token for token in cancel if self.cancel_wanted(token)]

    def cancel_wanted(self, token: int) -> bool:
        """Marks a task as to be cancelled; True the first time, for one whose run goes on."""
        holding = self._holdings.get(token)
        if holding is None or holding.cancel_requested:
            return False
        holding.cancel_requested = True
        return holding.phase is Phase.OPEN


# What one TaskResults may carry: well under a frame, and under one log entry (4 MiB).
BATCH_SIZE_MAX = 3 * 1024 * 1024


def outcome_size(outcome: TaskResult) -> int:
    """About how many bytes an outcome takes in a frame."""
    return 64 + len(outcome.result or b"") + 4 * len(outcome.error)


def batch_count(outcomes: list[TaskResult], count_max: int) -> int:
    """How many of the first outcomes go into one frame: at least one."""
    size = 0
    for count, outcome in enumerate(outcomes[:count_max]):
        size += outcome_size(outcome)
        if count and size > BATCH_SIZE_MAX:
            return count
    return min(len(outcomes), count_max)
