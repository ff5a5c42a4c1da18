"""One request of a caller, through all its attempts, and the rules of repeating it.

    waiting --sent--> in flight --reply or refusal--> ended
       ^                  |
       +-- connection lost, or a refusal that is worth another attempt

`unknown` is set once an attempt may have been carried out although nobody will tell us. From then
on only what proves the opposite is believed. Knows neither sockets nor clocks; times are passed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from taskq.client.batch import doubt_batch
from taskq.client.belief import doubted
from taskq.commands import ClaimTask, QueryStatus
from taskq.errors import (
    ConnectionFailed,
    ErrorCode,
    OutcomeUnknown,
    Refusal,
    as_exception,
)
from taskq.registry import MESSAGE_OF, Sort
from taskq.results import BatchReply

# The cluster recognises repeats for 600 s at least; ours end before, with room for slow networks.
REPEAT_WINDOW_SECONDS = 540.0

# Pause before a refused call is sent again where the refusal names none, and its growth.
RETRY_SECONDS = 0.05
RETRY_SECONDS_MAX = 1.0

# Refusals that pass: nothing was done, and the same request may succeed a moment later.
_PASSING = frozenset(
    {
        ErrorCode.NO_LEADER.value,
        ErrorCode.UNAVAILABLE.value,
        ErrorCode.TOO_MANY_REQUESTS.value,
        ErrorCode.TOO_MANY_CONNECTIONS.value,
    }
)
_FULL = frozenset({ErrorCode.QUEUE_FULL.value, ErrorCode.DISK_FULL.value})


class _Ended:
    """Stands for the future of a call whose caller has the reply."""

    def done(self) -> bool:
        """It is."""
        return True


_ENDED = cast("asyncio.Future[Any]", _Ended())


class Call:
    """A request and the future of its reply. `deadline` is in the loop's time."""

    __slots__ = (
        "command",
        "connection",
        "deadline",
        "first_sent",
        "future",
        "late",
        "parks",
        "refusal",
        "retry_full",
        "row",
        "setbacks",
        "unknown",
    )

    def __init__(
        self,
        command: Any,
        deadline: float,
        future: asyncio.Future[Any],
        *,
        retry_full: bool = False,
        late: Callable[[Any], None] | None = None,
    ) -> None:
        self.command = command
        self.deadline = deadline
        self.future = future
        self.row = MESSAGE_OF[type(command)]
        self.retry_full = retry_full
        # Called with a reply that comes after the caller has gone.
        self.late = late
        # The node may answer much later on purpose: such calls never take all of a connection.
        self.parks = type(command) in (ClaimTask, QueryStatus) and command.wait_ms > 0
        # Where it is in flight; set and cleared by that connection.
        self.connection: Any = None
        self.unknown = False
        self.first_sent: float | None = None
        self.refusal: Refusal | None = None
        self.setbacks = 0  # refusals after which it was sent again

    @property
    def changes_state(self) -> bool:
        return self.row.sort is Sort.COMMAND

    def next_attempt(self, now: float) -> Any:
        """The command to send now. A repeat parks for the rest of the time only."""
        if self.first_sent is None:
            self.first_sent = now
        elif self.parks:
            spent_ms = int((now - self.first_sent) * 1000)
            return self.command._replace(wait_ms=max(0, self.command.wait_ms - spent_ms))
        return self.command

    def lose(self) -> None:
        """The connection of an attempt was lost before its answer."""
        self.unknown = True
        self.connection = None
        if self.first_sent is not None:
            self.deadline = min(self.deadline, self.first_sent + REPEAT_WINDOW_SECONDS)

    def wants_another_attempt(self, refusal: Refusal) -> bool:
        """Notes a refusal; whether the request is to be sent again after `pause`."""
        self.refusal = refusal
        self.setbacks += 1
        if refusal.unknown:
            self.unknown = True
            return True
        return refusal.code in _PASSING or (self.retry_full and refusal.code in _FULL)

    def pause(self, refusal: Refusal, *, elsewhere: bool) -> float:
        """Seconds until the next attempt. The first one follows at once where the answer to the
        last was lost on its way, or another node is asked (`elsewhere`)."""
        hint = refusal.retry_after_ms / 1000
        if refusal.unknown or elsewhere:
            if self.setbacks == 1:
                return 0.0
            return max(hint, min(RETRY_SECONDS * 2.0 ** (self.setbacks - 2), RETRY_SECONDS_MAX))
        return hint or RETRY_SECONDS

    def succeed(self, reply: Any) -> None:
        """Ends the call with its reply."""
        if self.unknown and type(reply) is BatchReply:
            reply = doubt_batch(self.command, reply)
        self.future.set_result(reply)
        # Deadlines hold ended calls for a while: neither what was sent or answered with them, nor
        # the caller.
        self.future = _ENDED
        self.command = self.late = None

    def fail(self, error: BaseException) -> None:
        """Ends the call with an error, if nothing else ended it before."""
        if not self.future.done():
            self.future.set_exception(error)
        self.command = None

    def refuse(self, refusal: Refusal) -> None:
        """Ends the call with a refusal."""
        self.fail(as_exception(doubted(refusal, unknown=self.unknown, command=self.command)))

    def expire(self, timeout_text: str, reason: str) -> None:
        """Ends the call because its time is over. `reason` is what is known of the connection."""
        name = self.row.name
        in_flight = self.connection is not None
        if self.changes_state and (self.unknown or in_flight):
            self.fail(
                OutcomeUnknown(
                    f"{name}: no answer within {timeout_text}; it may have been carried out{reason}"
                )
            )
        elif self.refusal is not None and not in_flight:
            self.fail(as_exception(self.refusal._replace(unknown=False)))
        elif in_flight or self.unknown:
            self.fail(ConnectionFailed(f"{name}: no answer within {timeout_text}{reason}"))
        else:
            self.fail(ConnectionFailed(f"{name}: not sent within {timeout_text}{reason}"))
