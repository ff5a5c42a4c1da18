"""Virtual time: one heap of events, one seed. Everything that happens in a run happens here.

Two runs of one seed are alike, event by event: order comes from (time, number of the event), and
each part of the run draws from a generator of its own (`World.generator`), so that what one part
draws does not depend on the order in which another one asks.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

# Lines of the trace that a failure shows.
TRACE_TAIL = 400


class Violation(Exception):
    """A promise was broken; the text says which and how."""


class Event:
    """Something that will happen; `cancel` makes it nothing."""

    __slots__ = ("arguments", "callback", "cancelled")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        """It does not happen."""
        self.cancelled = True


class World:
    """One run. `now`: virtual seconds since its start; `counts`: how often what happened;
    `tracing`: every line of the trace is kept, not only the last ones."""

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=None if tracing else TRACE_TAIL)
        self._digest = hashlib.blake2b(digest_size=16)
        self._events: list[tuple[float, int, Event]] = []
        self._numbers = 0
        self.violation: Violation | None = None

    # --- chance -----------------------------------------------------------------------------------

    def generator(self, *name: object) -> random.Random:
        """A generator of its own for a part of the run, the same in every run of the seed."""
        # A text seeds through SHA-512: no `hash()`, which differs from process to process.
        return random.Random(f"{self.seed}/{'/'.join(map(str, name))}")

    # --- time -------------------------------------------------------------------------------------

    def at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Event:
        """Calls at virtual second `when`, or as soon as it can."""
        event = Event(callback, arguments)
        self._numbers += 1
        heappush(self._events, (max(when, self.now), self._numbers, event))
        return event

    def after(self, secs: float, callback: Callable[..., object], *arguments: Any) -> Event:
        """Calls after so many seconds."""
        return self.at(self.now + secs, callback, *arguments)

    def run_until(self, end: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Lets time pass until `end`, or until `done` says so after some event; whether it did.

        Raises Violation as soon as one was found.
        """
        events = self._events
        while events and events[0][0] <= end:
            when, _, event = heappop(events)
            if event.cancelled:
                continue
            self.now = when
            event.callback(*event.arguments)
            if self.violation is not None:
                raise self.violation
            if done():
                return True
        self.now = max(self.now, end)
        return done()

    # --- account ----------------------------------------------------------------------------------

    def note(self, kind: str, who: str = "", text: str = "") -> None:
        """Something happened: counted, and a line of the trace."""
        self.counts[kind] += 1
        self.tell(kind, who, text)

    def tell(self, kind: str, who: str = "", text: str = "") -> None:
        """A line of the trace."""
        line = f"{self.now:11.6f} {who:<4} {kind:<14} {text}"
        self._digest.update(line.encode())
        self.trace.append(line)

    def violate(self, text: str) -> None:
        """A promise is broken: the run ends after the present event. The first one counts."""
        if self.violation is None:
            self.tell("VIOLATION", "", text)
            self.violation = Violation(text)

    @property
    def fingerprint(self) -> str:
        """Of the whole trace so far: two runs that differ anywhere differ here."""
        return self._digest.hexdigest()
