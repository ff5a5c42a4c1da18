"""What a refusal tells after an earlier attempt of the same request that nobody answered. Pure."""

from __future__ import annotations

from taskq.commands import DeleteDead
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
        ErrorCode.STALE_TOKEN.value,
        ErrorCode.NOT_FOUND.value,
    }
)


def doubted(refusal: Refusal, *, unknown: bool, kind: type) -> Refusal:
    """The refusal of a request of this kind, marked unknown where it does not prove that nothing
    was done. `unknown` says that an earlier attempt may have been carried out."""
    if MESSAGE_OF[kind].sort is not Sort.COMMAND:
        return refusal._replace(unknown=False)
    # A repeated delete does not find what the first attempt deleted.
    gone = kind is DeleteDead and refusal.code == ErrorCode.NOT_FOUND.value
    if not unknown or refusal.unknown or (refusal.code in _PROVING and not gone):
        return refusal
    text = (
        f"an earlier attempt may have been carried out; the last one was refused: {refusal.message}"
    )
    return refusal._replace(message=f"{text} [{refusal.code}]", unknown=True)
