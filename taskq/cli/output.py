"""Tables for people, one JSON document for programs; both to standard output.

Everything else (progress, questions, errors) goes to standard error, so that a pipe gets only
the answer. Rich is loaded where a table is drawn: `--json` and errors do without it. Whatever is
told goes through `visible`: the text may be that of a producer, who must not steer a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from taskq.visible import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console

DEBUG_VARIABLE = "TASKQ_DEBUG"
# Columns of a table that is not drawn on a terminal: nothing is cut in a log or a pipe.
PIPE_WIDTH = 200


def to_json(value: Any) -> Any:
    """A value of the client's in JSON's terms: ids and dates as text, states by name in lower
    case, bytes by their length only."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: to_json(member) for name, member in value._asdict().items()}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, Mapping):
        return {str(key): to_json(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(member) for member in value]
    return value


def print_json(document: Any) -> None:
    """The one JSON document of a command."""
    _print(json_text(document, indent=2))


def print_json_line(document: Any) -> None:
    """A JSON document on one line: an event of a command that goes on, or an error."""
    _print(json_text(document))


def json_text(document: Any, indent: int | None = None) -> str:
    """A document as text that means the same on a terminal and in a pipe."""
    return visible_json(json.dumps(to_json(document), indent=indent, ensure_ascii=False))


def print_text(text: str) -> None:
    """A line of the answer."""
    _print(visible(text))


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line beside the answer: on standard error."""
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal. Of what is drawn, only styles steer the terminal."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - the error at hand: how a command ends is not for Rich to say

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for piece in super().render(renderable, options):
                if piece.control is None:
                    yield Segment(visible(piece.text), piece.style)
                else:
                    yield piece

    stream = sys.stderr if stderr else sys.stdout
    return Screen(
        file=stream,
        highlight=False,
        soft_wrap=False,
        width=None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH,
    )


def show(*parts: Any) -> None:
    """Tables and lines, drawn for people. What is only text has no markup."""
    from rich.text import Text

    screen = console()
    for part in parts:
        drawn = Text(visible(part)) if isinstance(part, str) else part
        # What cannot be made narrower is wrapped by the terminal, not cut off.
        screen.print(drawn, crop=False)


_STATE_STYLES = {
    "completed": "green",
    "leased": "cyan",
    "ready": "blue",
    "scheduled": "blue",
    "retrying": "yellow",
    "dead": "red",
    "cancelled": "magenta",
    "expired": "magenta",
}


def state_text(name: str) -> Any:
    """The name of a state in its colour."""
    from rich.text import Text

    return Text(name, style=_STATE_STYLES.get(name, ""))


def debugging() -> bool:
    """Whether tracebacks are wanted (TASKQ_DEBUG=1)."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def ask(question: str, read: Callable[[], str] = input) -> bool:
    """Asks on standard error; yes only for y or yes. No where nobody can answer."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{visible(question)} [y/N] ")
    sys.stderr.flush()
    try:
        return read().strip().lower() in ("y", "yes")
    except EOFError:
        note("")
        return False
