"""The audit log: one line for each administrative act, asked for here, whatever became of it.

Logger "audit", always on (`cluster/logging.py`). The node to which the client is connected writes
the line, for it knows who that is; the leader may have carried the act out. Never a key in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import structlog

from cluster.config.groups import ApiKey
from cluster.server.access import Grant
from taskq.errors import Refusal
from taskq.protocol.codec import Request
from taskq.protocol.unpack import unpack
from taskq.registry import MESSAGES, Role, Sort
from taskq.results import BatchReply, MemberChange

log = structlog.get_logger("audit")

# Messages whose answers are noted.
CODES = frozenset(
    code
    for code, row in MESSAGES.items()
    if row.role is Role.ADMIN and row.sort not in (Sort.INTERNAL, Sort.PUSH)
)
# Parts of an act that has its own line; they have one where they are refused.
_STEPS = frozenset({"ReadBackup", "EndBackup"})
# Ids of one line; a batch may have a thousand.
_LISTED_MAX = 20


def note(
    grant: Grant,
    address: str,
    request: Request,
    value: Any,
    last: Mapping[str, Any] | None = None,
) -> Mapping[str, Any] | None:
    """An act was answered with `value`: its reply, one that another node packed (`split_reply`), a
    refusal, or None where nobody waits for the answer any more. The same again as `last`, what was
    noted before on the same connection, is asking how far it is, and has no line. Returns what
    stands for `last` from now on."""
    name = request.message.name
    if name in _STEPS and not isinstance(value, Refusal):
        return last
    fields = {key: _shown(field) for key, field in request.command._asdict().items()}
    # Fields of messages may have any name: ours win.
    told = {**fields, "who": grant.who, "client": address, **_outcome(request, value)}
    act = {"act": name, **told}
    if act != last:
        log.info(name, **told)
    return act


def _outcome(request: Request, value: Any) -> dict[str, Any]:
    if value is None:
        return {"outcome": "unknown", "why": "its client has gone"}
    if isinstance(value, Refusal):
        return {"outcome": "unknown" if value.unknown else value.code, "why": value.message}
    if request.message.reply is MemberChange:
        _, stage, *_ = unpack(value) if isinstance(value, bytes) else value
        return {"outcome": stage}
    if request.message.reply is not BatchReply:
        return {"outcome": "done"}
    (answers,) = unpack(value) if isinstance(value, bytes) else value
    refused = sum(not accepted for accepted, _ in answers)
    return {"outcome": "done", "done": len(answers) - refused, "refused": refused}


def _shown(field: Any) -> Any:
    if isinstance(field, bytes):
        return str(UUID(bytes=field)) if len(field) == 16 else field.hex()
    if isinstance(field, list | tuple):
        shown = [_shown(one) for one in field[:_LISTED_MAX]]
        return [*shown, f"and {len(field) - _LISTED_MAX} more"] if field[_LISTED_MAX:] else shown
    return field


def keys_replaced(before: Iterable[ApiKey], now: Iterable[ApiKey], sessions_ended: int) -> None:
    """Other keys count from now on."""
    had, have = list(before), list(now)
    log.info(
        "keys replaced",
        who="configuration",
        added=[key.label for key in have if not any(map(key.grants_as, had))],
        removed=[key.label for key in had if not any(map(key.grants_as, have))],
        sessions_ended=sessions_ended,
        outcome="done",
    )


def keys_kept(why: list[str]) -> None:
    """The configuration was read again, and is not taken over."""
    log.warning("keys kept", who="configuration", outcome="refused", why=why)
