"""What is wrong with a configuration, as values, and the one error that carries all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskq.errors import TaskqError


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to put right.

    `path` is `group.key`; `reason` says what is allowed. `given` is the value as text and `source`
    where it was set; both are empty where nothing was set. `paths` are all keys that take part:
    such a mistake is not reported while one of them is wrong by itself.
    """

    path: str
    reason: str
    given: str = ""
    source: str = ""
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.path} = {self.given}" if self.given else self.path
        place = f" ({self.source})" if self.source else ""
        return f"{head}{place}: {self.reason}"


class ConfigError(TaskqError):
    """The configuration cannot be used; the message lists every mistake, one per line."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        assert mistakes, "an error without a mistake explains nothing"
        count = len(mistakes)
        head = "The configuration has " + ("a mistake:" if count == 1 else f"{count} mistakes:")
        super().__init__("\n".join([head, *(f"  {mistake}" for mistake in mistakes)]))
        self.mistakes = tuple(mistakes)

    def __reduce__(self) -> tuple[type, tuple[tuple[Mistake, ...]]]:
        return type(self), (self.mistakes,)
