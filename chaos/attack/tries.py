"""What became of the tries of one attack."""

from __future__ import annotations

from collections import Counter


class Tries:
    """`refused`: of `attempts`, those that got nothing. `breaches`: what the others got, in words.
    `whys`: how they were refused."""

    def __init__(self) -> None:
        self.refused = 0
        self.breaches: list[str] = []
        self.whys: Counter[str] = Counter()

    @property
    def attempts(self) -> int:
        """All of them."""
        return self.refused + len(self.breaches)

    def refuse(self, why: str, count: int = 1) -> None:
        """So many tries got nothing."""
        self.refused += count
        self.whys[why] += count

    def admit(self, what: str) -> None:
        """A try got what it should not have: `what`."""
        self.breaches.append(what)

    def judge(self, refused: bool, why: str, what: str) -> None:
        """One or the other."""
        if refused:
            self.refuse(why)
        else:
            self.admit(what)
