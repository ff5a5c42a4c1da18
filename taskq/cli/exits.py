"""Exit codes: what a script may rely on.

0    done
1    the task failed, or the cluster refused the request, or a check found a mistake
2    the command line is wrong
3    no node could be reached
4    the outcome is unknown: the request may or may not have been carried out
5    timed out: the task has not ended
130  Ctrl-C
"""

from __future__ import annotations

from taskq.errors import ConnectionFailed, OutcomeUnknown, ProtocolError
from taskq.worker.heartbeats import WorkerLost

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
UNKNOWN = 4
TIMED_OUT = 5
INTERRUPTED = 130

ABOUT = (
    (OK, "done"),
    (FAILED, "the task failed, the request was refused, or a check found a mistake"),
    (USAGE, "the command line is wrong"),
    (UNREACHABLE, "no node could be reached"),
    (UNKNOWN, "unknown: the request may or may not have been carried out"),
    (TIMED_OUT, "timed out: the task has not ended"),
    (INTERRUPTED, "Ctrl-C"),
)


def exit_code_of(error: BaseException) -> int:
    """The exit code that tells an error apart for scripts."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OutcomeUnknown):
        return UNKNOWN
    if isinstance(error, ConnectionFailed | WorkerLost | ProtocolError):
        return UNREACHABLE
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    return FAILED
