"""The one registry of messages: codec, dispatch, roles, metric names and pages derive from it.

Adding a message takes three places: its class in `commands.py`, its handler, its script.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from taskq.explain import explain
from taskq.fields import Kind, compile_check, compile_make, counts_of, kinds_of
from taskq.levels import LEVEL_FIRST

Shape = TypeVar("Shape", bound=type)


class Sort(Enum):
    """Who handles a message."""

    SESSION = "session"  # about the connection; answered by the node that holds it
    COMMAND = "command"  # changes state: goes through the log, `machine.apply` answers
    READ = "read"  # answered from the leader's applied state
    CLUSTER = "cluster"  # about the nodes themselves; no part of the replicated state
    INTERNAL = "internal"  # a log entry that the leader's monitors make; never on the wire
    PUSH = "push"  # sent by the node without a request


class Role(Enum):
    """What a credential must carry to send a message."""

    ANYONE = "anyone"
    PRODUCER = "producer"
    WORKER = "worker"
    ADMIN = "admin"


@dataclass(frozen=True)
class Message:
    """A row of the registry.

    `code` is the message type on the wire and in the log, never reused. `reply` is the shape of
    the answer (None for INTERNAL and PUSH), whose type on the wire is `code | 0x80`. `member` is
    the shape of each good answer in a `BatchReply`. `check` is true for a list of legal fields.
    """

    code: int
    shape: type
    sort: Sort
    role: Role
    reply: type | None
    member: type | None = None
    check: Callable[[Any], bool] = field(init=False, repr=False, compare=False)
    _make: Callable[..., Any] = field(init=False, repr=False, compare=False)
    _counts: range = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        least, most = counts_of(self.shape)
        object.__setattr__(self, "check", compile_check(self.shape))
        object.__setattr__(self, "_make", compile_make(self.shape))
        object.__setattr__(self, "_counts", range(least, most + 1))

    @property
    def name(self) -> str:
        return self.shape.__name__

    @property
    def kinds(self) -> dict[str, Kind]:
        return kinds_of(self.shape)

    def parse(self, fields: Any) -> Any:
        """The command made of a list of fields; records inside stay lists, as they came.

        Raises ValueError naming the first wrong field.
        """
        if type(fields) is list and len(fields) in self._counts:
            command = self._make(*fields)
            if command is not None:
                return command
        raise ValueError(explain(self.shape, fields))


MESSAGES: dict[int, Message] = {}
MESSAGE_OF: dict[type, Message] = {}
# Commands that came later than the first feature level, and with which: not proposed before it.
LATER: dict[type, int] = {}


def message(
    code: int,
    sort: Sort,
    *,
    role: Role = Role.ANYONE,
    reply: type | None = None,
    member: type | None = None,
    since: int = LEVEL_FIRST,
) -> Callable[[Shape], Shape]:
    """Class decorator: enters a `NamedTuple` into the registry under `code` (1..126). `since`: the
    feature level that it came with, where it goes through the log."""

    def enter(shape: Shape) -> Shape:
        assert 0 < code < 0x7F, code
        assert code not in MESSAGES, f"code {code} is taken by {MESSAGES[code].name}"
        row = Message(code, shape, sort, role, reply, member)
        MESSAGES[code] = row
        MESSAGE_OF[shape] = row
        if since > LEVEL_FIRST:
            LATER[shape] = since
        return shape

    return enter
