"""A legal request of any kind, made from what the registry says of its fields: an attack that goes
through all of them needs no list that could be out of date."""

from __future__ import annotations

from typing import Any

from taskq import fields
from taskq.fields import kinds_of
from taskq.registry import MESSAGES, Message, Role, Sort

# Named by requests that name one.
QUEUE = "theirs.mail"
_SENT = (Sort.COMMAND, Sort.READ, Sort.CLUSTER)


def requests(*roles: Role) -> list[Any]:
    """One of each message that a client may send with one of these roles."""
    rows = [row for row in MESSAGES.values() if row.sort in _SENT and row.role in roles]
    return [request(row) for row in rows]


def request(row: Message) -> Any:
    """As short as the rules allow, but for names of queues. Raises ValueError for a field of a kind
    that is not known here."""
    return row.shape(*(_value(name, kind) for name, kind in row.kinds.items()))


def _value(name: str, kind: fields.Kind) -> Any:
    if isinstance(kind, fields.Text):
        if "queue" in name or kind.pattern is not None:
            return QUEUE
        return "a" * kind.size_min
    if isinstance(kind, fields.Maybe):
        return None
    if isinstance(kind, fields.Int):
        return max(kind.low, min(1, kind.high))
    if isinstance(kind, fields.Bool):
        return False
    if isinstance(kind, fields.Bytes):
        return b"x" * kind.size_min
    if isinstance(kind, fields.MapOf):
        return {}
    if isinstance(kind, fields.ListOf):
        return [_value(name, kind.inner)] * kind.count_min
    if isinstance(kind, fields.Record):
        return [_value(one, inner) for one, inner in kinds_of(kind.shape).items()]
    raise ValueError(f"{name} is of a kind that is not known here: {kind}")
