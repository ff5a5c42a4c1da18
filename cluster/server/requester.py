"""Who asks, as everything behind the connections sees it: a client here, or another node for its
clients. `Session` and `RemoteSession` are the two."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from cluster.server.backlog import Backlog
from taskq.protocol.codec import Rejected, Request

if TYPE_CHECKING:
    from cluster.server.sessions import Sessions

# (arrival in loop time, request)
Tag = tuple[float, Request]


class Bag(Protocol):
    """What a requester is asked to remember."""

    def add(self, thing: Any, /) -> None: ...
    def discard(self, thing: Any, /) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...


class Requester(Protocol):
    """See the module. Sizes in bytes; times are the loop's."""

    sessions: Sessions
    remote: ClassVar[bool]  # another node, which passes on requests of its clients
    backlog: Backlog
    deferred: deque[Tag]
    handlers: dict[int, Handler]
    workers: dict[bytes, None]
    in_flight: int
    held: int
    reserved: int  # the part of `held` that is expected, not there
    unread: int  # the part of `held` that are answers on their way
    count_max: int
    size_max: int
    stuck_at: float
    closed: bool
    closing_at: float
    reckoned: int
    forwarded: set[Any]  # its requests that wait for the leader, or are there

    @property
    def parked(self) -> Bag:
        """Its requests that wait on this node."""

    def wants(self, tag: Tag) -> bool:
        """Whether anybody would read the answer."""

    def deliver(self, tag: Tag, value: Any) -> None:
        """What became of a request: a reply or a `Refusal`. A request that was certainly not
        carried out because this node does not lead goes to the leader instead of being answered."""

    def answer(self, tag: Tag, value: Any) -> None:
        """Answers a request, whatever the value is; each request is answered once."""

    def pass_on(self, tag: Tag, kind: int, body: bytes) -> None:
        """Answers with what another node packed."""

    def reject(self, rejected: Rejected) -> None:
        """Answers what is no legal request."""

    def push(self, command: Any) -> None:
        """Sends a message that nobody asked for."""

    def defer(self, tag: Tag) -> None:
        """Keeps a read until there is room for its answer."""

    def is_full(self) -> bool:
        """Whether so much is unread that nothing large should be added."""

    def must_wait(self) -> bool:
        """Whether nothing large should be read for it now."""

    def reserve(self, size: int) -> None:
        """Expects an answer of `size` (negative: no more)."""

    def soil(self) -> None:
        """Something is to be done for it in the next round of the loop."""

    def flush(self, now: float) -> None:
        """Once per round: writes answers, goes on with what waited."""

    def steer(self) -> None:
        """Stops or goes on reading."""

    def starve(self, starved: bool, /) -> None:
        """The node as a whole holds too much, or no more."""

    def measure(self) -> bool:
        """Looks at what is unread; whether that is less than was known."""

    def weight(self) -> int:
        """What it holds now."""

    def abort(self, reason: str) -> None:
        """Ends it at once."""


Handler = Callable[[Requester, Tag], None]
