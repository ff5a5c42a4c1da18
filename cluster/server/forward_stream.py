"""Requests that this node passed to one other node, which led at that time, and their answers.

    handed --sent--> under way --answer--> handed back      each exactly once
       ^                 +--stream lost--> outcome unknown
       +-- not sent

What is under way is bounded: requests that ask for an answer at once have a window of bytes; those
that wait for a task or a result are few bytes each and bounded by the quota of their sessions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from cluster.server.forward_letters import LETTER_SIZE, pack_requests, pack_scope
from cluster.server.requester import Requester, Tag
from cluster.server.wait_clock import WaitClock
from taskq.errors import ErrorCode, ProtocolError, refuse
from taskq.limits import MIB
from taskq.protocol.codec import encode_request, make_pack
from taskq.protocol.frame import HEAD_SIZE, Frame

# Bytes of requests under way to one node, beyond which further ones wait here. At 1 ms for an
# answer that is 16 GB/s: only a leader that cannot follow is met by it.
WINDOW_SIZE = 16 * MIB
# Answers of so many bytes are confirmed at once; fewer with the next request.
CONFIRM_SIZE = 2 * MIB

# Requests in one message: some milliseconds of work at either end, then others have a turn.
LETTER_COUNT_MAX = 1_000

_pack = make_pack()


class Forwarded:
    """A request of a client on its way to the leader. `deadline` in loop time; `number` and `size`
    are set when it is sent; `expire`, `timed` and `answered` are those of `WaitClock`."""

    __slots__ = (
        *("answered", "deadline", "expire", "number", "session", "size", "stream", "tag", "timed"),
        *("waits",),
    )

    def __init__(
        self, session: Requester, tag: Tag, deadline: float, expire: Callable[[Any], None]
    ) -> None:
        self.session = session
        self.tag = tag
        self.deadline = deadline
        self.expire = expire
        self.answered = False
        self.timed = False
        self.waits = getattr(tag[1].command, "wait_ms", 0) > 0
        self.number = 0
        self.size = 0
        self.stream: Stream | None = None  # while it is under way


class Stream:
    """See the module. `post(message)`: false where it was not sent. `clock` watches requests that
    wait here. `is_over()`: this node holds so much that it should get no more answers."""

    def __init__(
        self,
        number: int,
        post: Callable[[bytes], bool],
        clock: WaitClock,
        is_over: Callable[[], bool],
    ) -> None:
        self.number = number
        self.under_way: dict[int, Forwarded] = {}
        self.size = 0  # of those that do not wait
        self._post_message = post
        self._clock = clock
        self._is_over = is_over
        self._last_number = 0
        self._dropped: list[int] = []
        self._handed = 0  # bytes of answers
        self._consumed = 0  # of those, what the other node may count as gone
        self._confirmed = 0  # and knows of

    def has_room(self, one: Forwarded) -> bool:
        """Whether the window takes one more. A frame alone is taken whatever its size."""
        return one.waits or self.size < WINDOW_SIZE

    def send(self, queue: deque[Forwarded], now: float) -> bool:
        """Sends one message with what it holds and the window takes, from the left; false where the
        connection took nothing."""
        batch, frames = self._encode(queue, now)
        if not batch:
            return self.confirm()
        if not self._post(frames):
            for one in reversed(batch):
                self.size -= 0 if one.waits else one.size
                queue.appendleft(one)
            return False
        for one in batch:
            if one.timed:
                self._clock.remove(one)
            one.stream = self
            self.under_way[one.number] = one
        return True

    def _encode(self, queue: deque[Forwarded], now: float) -> tuple[list[Forwarded], list[bytes]]:
        batch: list[Forwarded] = []
        frames: list[bytes] = []
        size = 0
        said = None  # the scope of the frames that follow
        while queue and len(batch) < LETTER_COUNT_MAX:
            one = queue[0]
            if one.answered:
                queue.popleft()
                continue
            if not self.has_room(one) or (batch and size + one.tag[1].size > LETTER_SIZE):
                break
            queue.popleft()
            number = self._last_number + 1
            try:
                frame = encode_request(_pack, *_as_of(one, now, number))
            except ProtocolError as error:
                self._clock.remove(one)
                one.session.forwarded.discard(one)
                one.session.answer(one.tag, refuse(ErrorCode.PAYLOAD_TOO_LARGE, str(error)))
                continue
            self._last_number = one.number = number
            one.size = len(frame)
            if not one.waits:
                self.size += one.size
            size += one.size
            batch.append(one)
            scope = one.tag[1].scope
            if scope is not said:
                said = scope
                frames.append(pack_scope("" if scope is None else scope.pattern))
            frames.append(frame)
        return batch, frames

    def _post(self, frames: list[bytes]) -> bool:
        if not self._is_over():
            self._consumed = self._handed
        message = pack_requests(self.number, self._consumed, self._dropped, frames)
        if not self._post_message(message):
            return False
        self._dropped.clear()
        self._confirmed = self._consumed
        return True

    def take(self, number: int) -> Forwarded | None:
        """The request that is answered under this number; None where nobody waits for it."""
        one = self.under_way.pop(number, None)
        if one is not None and not one.waits:
            self.size -= one.size
        return one

    def drop(self, one: Forwarded) -> None:
        """Its client is gone: the leader need not carry it out any more."""
        if self.take(one.number) is not None:
            self._dropped.append(one.number)

    def handed(self, frames: list[Frame]) -> None:
        """Answers were handed on."""
        self._handed += sum([len(payload) for _, payload in frames]) + HEAD_SIZE * len(frames)

    @property
    def withholds(self) -> bool:
        """Whether answers were handed on that the other node does not know of."""
        return self._handed - self._confirmed >= CONFIRM_SIZE

    def confirm(self) -> bool:
        """Says what the other node should know also without a further request; false where the
        connection does not take it."""
        if not self._is_over():
            self._consumed = self._handed
        owes = self._dropped or self._consumed - self._confirmed >= CONFIRM_SIZE
        return not owes or self._post([])


def _as_of(one: Forwarded, now: float, number: int) -> tuple[Any, int, int]:
    """(command, request id, deadline_ms): what is left of wait and deadline now."""
    arrival, request = one.tag
    command = request.command
    spent_ms = int((now - arrival) * 1000)
    if spent_ms and one.waits:
        command = command._replace(wait_ms=max(0, command.wait_ms - spent_ms))
    return command, number, max(1, int((one.deadline - now) * 1000))
