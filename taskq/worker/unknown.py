"""Tasks of a name that this worker's app does not know: given back, and said so.

While a new version is rolled out its tasks meet workers of the old one. The cluster counts such
releases and lets each wait longer than the one before, so that a newer worker gets the task; one
that nobody knows ends as a dead letter (`taskq/machine/release.py`).
"""

from __future__ import annotations

import logging
import uuid

from taskq.commands import Nack
from taskq.limits import UNKNOWN_DELAY_MS_DEFAULT, UNKNOWN_RELEASES_MAX
from taskq.results import ClaimedTask

_log = logging.getLogger("taskq.worker")

# The delay after the first release of a task, which doubles with each further one.
DELAY_MS = UNKNOWN_DELAY_MS_DEFAULT


def unknown_release(task: ClaimedTask, names: list[str]) -> Nack:
    """Warns of a task that is not among `names`, those that are known; its release."""
    known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    _log.warning(
        "Task %s is a %r, which this worker does not know (it knows %s): given back; the %dth time "
        "it is dead.",
        *(uuid.UUID(bytes=task.task_id), task.name, known, UNKNOWN_RELEASES_MAX),
    )
    return Nack(task.task_id, task.token, DELAY_MS, True)
