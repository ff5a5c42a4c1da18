"""Which keys have a test that changing them changes behaviour: filled by the decorator `acts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cluster.config.model import keys

Test = TypeVar("Test", bound=Callable[..., object])

TESTED: dict[str, list[str]] = {}


def acts(*paths: str) -> Callable[[Test], Test]:
    """Marks the test that shows that these keys act (or, not served yet, that the node says so)."""

    def mark(test: Test) -> Test:
        for path in paths:
            assert path in keys(), f"{test.__name__} tests {path}, which is no key"
            TESTED.setdefault(path, []).append(test.__name__)
        return test

    return mark
