"""What a command that goes on tells: sentences for people, or one JSON document a line."""

from __future__ import annotations

from typing import Any

from taskq.cli.output import note, print_json_line, print_text


class Events:
    """Tells each event once: its text, or with `--json` its name and fields."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def answer(self, event: str, text: str, **fields: Any) -> None:
        """What people asked for: the text goes to standard output."""
        if self._as_json:
            print_json_line({"event": event, **fields})
        else:
            print_text(text)

    def aside(self, event: str, text: str, **fields: Any) -> None:
        """What happened meanwhile: the text goes to standard error, with `--json` as "message"."""
        if self._as_json:
            print_json_line({"event": event, "message": text.strip(), **fields})
        else:
            note(text)
