"""Tasks of a name that this worker's app does not know: given back, and ended after a while.

While a new version is rolled out its tasks meet workers of the old one. They are released with a
delay that doubles, so that a newer worker gets them; one that nobody knows ends as a dead letter.
This worker counts its own releases: with several workers of an app that does not know the name, a
task may be given back as often by each.
"""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable

from taskq.results import ClaimedTask

_log = logging.getLogger("taskq.worker")

UNKNOWN_TASK = "UNKNOWN_TASK"
# A task that was released so often ends as dead when it is met once more.
RELEASES_MAX = 10
# The first delay, doubled with each release up to the last: six minutes in all, longer than a
# rolling deploy stays between two versions.
DELAY_SECS = 1.0
DELAY_SECS_MAX = 64.0
# Tasks remembered; of more, those met longest ago start anew.
REMEMBERED_MAX = 10_000


class UnknownTasks:
    """`names`: those that are known, for the message. `release(task, delay_secs)` gives one back,
    `end(task, error)` fails it for good."""

    def __init__(
        self,
        names: list[str],
        release: Callable[[ClaimedTask, float], None],
        end: Callable[[ClaimedTask, str], None],
    ) -> None:
        self._names = names
        self._release = release
        self._end = end
        self._releases: OrderedDict[bytes, int] = OrderedDict()

    def met(self, task: ClaimedTask) -> None:
        """A task of an unknown name was claimed."""
        count = self._releases.pop(task.task_id, 0)
        known = ", ".join(self._names[:20]) + (", ..." if len(self._names) > 20 else "")
        if count >= RELEASES_MAX:
            text = f"{UNKNOWN_TASK}: {count} times claimed by a worker that knows no task "
            self._end(task, f"{text}{task.name!r}, only {known}.")
            return
        self._releases[task.task_id] = count + 1
        if len(self._releases) > REMEMBERED_MAX:
            self._releases.popitem(last=False)
        delay_secs = min(DELAY_SECS * 2**count, DELAY_SECS_MAX)
        _log.warning(
            "Task %s is a %r, which this worker does not know (it knows %s): given back for %g s "
            "(%d of %d).",
            *(uuid.UUID(bytes=task.task_id), task.name, known),
            *(delay_secs, count + 1, RELEASES_MAX),
        )
        self._release(task, delay_secs)
