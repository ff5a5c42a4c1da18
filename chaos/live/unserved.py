"""Which calls found no service though they were to wait for it. Pure."""

from __future__ import annotations

from chaos.history import REFUSED, UNKNOWN, Call, History
from chaos.live.recorder import NOT_SENT
from taskq.errors import ErrorCode

# A call that ends so has found no service.
_CODES = (NOT_SENT, ErrorCode.NO_LEADER.value, ErrorCode.UNAVAILABLE.value)


def without_service(history: History, *, planned: bool = False) -> list[Call]:
    """Calls that were to wait for service and ended without it: all, where nothing broke; the
    probes, where calls of the load were let give up early."""
    calls = history.calls if planned else history.of("submit")
    return [
        call
        for call in calls
        if call.outcome == UNKNOWN or (call.outcome == REFUSED and call.code in _CODES)
        if planned or call.args["queue"] == "probe"
    ]
