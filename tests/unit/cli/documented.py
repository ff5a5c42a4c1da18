"""The documents that `docs/command-line.md` promises, and whether one that was printed is such."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs" / "command-line.md"

_COMMAND = re.compile(r"`taskq ((?:[a-z]+ ?)+)[^`]*`")
_SAMPLE = re.compile(r"^(`taskq .*\n(?:.+\n)*)\n```json\n((?:.*\n)*?)```", re.M)


def _documents(text: str) -> Iterator[Any]:
    rest = text.strip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        yield document
        rest = rest[end:].strip()


def samples() -> dict[str, list[Any]]:
    """Command -> the documents on the page."""
    section = PAGE.read_text().partition("## Documents")[2].partition("\n## ")[0]
    found: dict[str, list[Any]] = {}
    for about, text in _SAMPLE.findall(section):
        named = about.partition(":")[0]
        for name in _COMMAND.findall(named):
            found.setdefault(name.strip(), list(_documents(text)))
    return found


SAMPLES = samples()


def check(command: str, document: Any, place: int = 0) -> Any:
    """The document, which must be as the page has it: the same names, values of the same kind."""
    found = list(differences(SAMPLES[command][place], document, command))
    assert not found, found
    return document


def differences(sample: Any, actual: Any, where: str) -> Iterator[str]:
    """What is not as in the sample. Null fits everything; an empty list or object, and one whose
    only name is in capitals, stands for others of its kind."""
    if sample is None or actual is None:
        return
    if isinstance(sample, dict) and isinstance(actual, dict):
        names = list(sample)
        if not names or (len(names) == 1 and names[0].isupper()):
            for name, value in actual.items():
                yield from differences(next(iter(sample.values()), None), value, f"{where}.{name}")
            return
        if set(names) != set(actual):
            yield f"{where}: {sorted(set(names) ^ set(actual))}"
        for name in set(names) & set(actual):
            yield from differences(sample[name], actual[name], f"{where}.{name}")
    elif isinstance(sample, list) and isinstance(actual, list):
        for place, one in enumerate(actual if sample else []):
            yield from differences(sample[0], one, f"{where}[{place}]")
    elif _kind(sample) is not _kind(actual):
        yield f"{where}: {actual!r} is not of the kind of {sample!r}"


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
