"""What a refusal tells after an earlier attempt of the same request that nobody answered. Pure."""

from __future__ import annotations

from typing import Any

from taskq.commands import Ack, TaskResult
from taskq.errors import ErrorCode, Refusal
from taskq.registry import MESSAGE_OF, Sort

# Refusals that hold for every attempt, also for one that is still under way somewhere.
_PROVING = frozenset(
    {
        ErrorCode.INVALID_REQUEST.value,
        ErrorCode.UNSUPPORTED_VERSION.value,
        ErrorCode.UNKNOWN_MESSAGE.value,
        ErrorCode.PAYLOAD_TOO_LARGE.value,
        ErrorCode.RESULT_TOO_LARGE.value,
        ErrorCode.ALREADY_EXISTS.value,
    }
)


def doubted(refusal: Refusal, *, unknown: bool, command: Any) -> Refusal:
    """The refusal of a command, marked unknown where it does not prove that nothing was done.
    `unknown` says that an earlier attempt may have been carried out.

    NOT_FOUND proves nothing: the task may have ended by that attempt and be gone by now. Nor does
    STALE_TOKEN after a failure or a release: the task may have been claimed anew since.
    """
    if MESSAGE_OF[type(command)].sort is not Sort.COMMAND:
        return refusal._replace(unknown=False)
    if not unknown or refusal.unknown or refusal.code in _PROVING:
        return refusal
    if refusal.code == ErrorCode.STALE_TOKEN.value and _completes(command):
        return refusal  # a completion that was accepted would be answered as accepted
    text = (
        f"an earlier attempt may have been carried out; the last one was refused: {refusal.message}"
    )
    return refusal._replace(message=f"{text} [{refusal.code}]", unknown=True)


def _completes(command: Any) -> bool:
    return type(command) is Ack or (type(command) is TaskResult and command.ok)
