"""Task ids: UUIDv7 (RFC 9562, section 5.7), made by the client before the first attempt.

48 bits Unix milliseconds, then a 42-bit counter (method 1 of section 6.2: starts at a random
number each millisecond and grows by one) around the version and variant bits, then 32 random bits.
Within a process ids grow; across processes and forks they differ.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

# The counter starts in the lower half of its 42 bits: 2^41 ids fit a millisecond before it ends.
_START_BITS = 41
_COUNTER_MAX = (1 << 42) - 1

TaskIdLike = UUID | str | bytes


class IdSource:
    """Makes ids. Safe across threads; after a fork `renew` must be called in the child."""

    def __init__(
        self,
        milliseconds: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._milliseconds = milliseconds
        self._entropy = entropy
        self.renew()

    def renew(self) -> None:
        """Forgets everything, the lock included: another thread may have held it at the fork."""
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0

    def next(self) -> bytes:
        """16 bytes; greater than all that this source made before."""
        tail = int.from_bytes(self._entropy(10))
        with self._lock:
            now_ms = self._milliseconds()
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                self._counter = tail >> 32 & ((1 << _START_BITS) - 1)
            else:  # the same millisecond, or the clock was set back
                self._counter += 1
                if self._counter > _COUNTER_MAX:
                    self._last_ms += 1
                    self._counter = 0
            moment_ms, counter = self._last_ms, self._counter
        high, low = counter >> 30, counter & ((1 << 30) - 1)
        value = (moment_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | high << 64
        value |= 0b10 << 62 | low << 32 | tail & 0xFFFF_FFFF
        return value.to_bytes(16)


_source = IdSource()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_source.renew)

new_task_id = _source.next


def task_id_bytes(task_id: TaskIdLike) -> bytes:
    """The 16 bytes of an id given as `UUID`, text or bytes. Raises TypeError or ValueError."""
    if isinstance(task_id, UUID):
        return task_id.bytes
    if isinstance(task_id, str):
        try:
            return UUID(task_id).bytes
        except ValueError:
            raise ValueError(f"task id: {task_id[:60]!r} is not a UUID") from None
    if isinstance(task_id, bytes):
        if len(task_id) != 16:
            raise ValueError(f"task id: 16 bytes, not {len(task_id)}")
        return task_id
    raise TypeError(f"task id: a UUID, its text or its bytes, not {type(task_id).__name__}")
