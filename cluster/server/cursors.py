"""Where a limited key's listing goes on: sealed, because that can be at a task of another queue.

A page ends after so many records, whosever they are. Its cursor is unreadable, of no use but to go
on, and cannot be made up. Every node opens those of the others: the seal's key comes from all API
keys of the configuration, of which the holder of one knows one.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from taskq import commands
from taskq.errors import ErrorCode, refuse
from taskq.machine.machine import Machine
from taskq.machine.queries import Limit

# Their cursors are ids of tasks. Those of other listings are what was shown last.
SEALED = frozenset({commands.ListTasks, commands.ListDead})
_MARK_SIZE = 16


class Cursors:
    """See the module. `hashes` of all API keys, in any order."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self.renew(hashes)

    def renew(self, hashes: Iterable[str]) -> None:
        """Other API keys count from now on; cursors of before are worth nothing."""
        self._key = sha256("\n".join(sorted(hashes)).encode()).digest()

    def ask(self, machine: Machine, question: Any, limit: Limit) -> Any:
        """As `Machine.ask`. Refused: INVALID_REQUEST."""
        if type(question) not in SEALED:
            return machine.ask(question, limit)
        if question.after is not None:
            place = self.open(question.after)
            if place is None:
                text = "after: no cursor that holds (the API keys have changed?): start again"
                return refuse(ErrorCode.INVALID_REQUEST, text)
            question = question._replace(after=place)
        page = machine.ask(question, limit)
        return page if page.after is None else page._replace(after=self.seal(page.after))

    def seal(self, place: bytes) -> bytes:
        """The cursor for a place in a listing, of at most 32 bytes; the same for the same place."""
        mark = self._digest(b"mark", place)[:_MARK_SIZE]
        return mark + self._hidden(mark, place)

    def open(self, cursor: bytes) -> bytes | None:
        """The place that a cursor is for; None where it is none."""
        mark = cursor[:_MARK_SIZE]
        place = self._hidden(mark, cursor[_MARK_SIZE:])
        return (
            place if hmac.compare_digest(mark, self._digest(b"mark", place)[:_MARK_SIZE]) else None
        )

    def _hidden(self, mark: bytes, data: bytes) -> bytes:
        """Hides, and shows again what is hidden."""
        mask = self._digest(b"mask", mark)
        return bytes(one ^ other for one, other in zip(data, mask, strict=False))

    def _digest(self, use: bytes, data: bytes) -> bytes:
        return hmac.digest(self._key, use + data, "sha256")
