"""Plays a page of the documentation: writes its files, types its commands, compares outputs.

What a page may hold, and what is done with it, in order:

- a `python` block becomes the file that the paragraph before it names last (`shop.py`);
- a `console` block is typed into the terminal that the paragraph before it names ("first", "second"
  ... "terminal"; else the one in use). `$ ` begins a command, `^C` is Ctrl-C, and what follows is
  the output: all of it for a command that ends, a part for one that stays in front;
- a `text` block is shown only. Any other block fails the test: nothing on a page is left untried.

In outputs `...` stands for anything; the width of columns and the time of day do not count. What
differs from run to run (ids, addresses, process ids, who leads) is learnt where it is first seen,
must be the same from then on and no other's, and is put into the commands that follow, as a reader
would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.integration.docs.terminal import Terminal

ORDINALS = ("first", "second", "third", "fourth")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Programs that stay in front until Ctrl-C.
STAYS = re.compile(r"^taskq (up|worker|top(?! .*--(once|json)))\b")
# What is learnt: the page's word stands for what was seen.
LEARNT = {
    "id": r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}",
    "address": r"127\.0\.0\.1:\d+",
    "process": r"\b[A-Za-z][\w.-]*-\d+\b(?=:)",
    "leader": r"\bnode\d\b(?= leads| ended| is started|\.log)",
}
# What is only of the same kind.
VARYING = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    r"\b\d\d:\d\d:\d\d\b": r"\d\d:\d\d:\d\d",
    r"\bterm \d+": r"term \d+",
}
TOKEN = re.compile(
    "|".join(
        [r"(?P<any>\.\.\.)"]
        + [f"(?P<{name}>{pattern})" for name, pattern in LEARNT.items()]
        + [f"(?P<varying{place}>{pattern})" for place, pattern in enumerate(VARYING)]
    )
)


class Block(NamedTuple):
    """A fenced block and the paragraph before it."""

    kind: str
    body: str
    paragraph: str


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page in order."""
    found = []
    end = 0
    for fenced in FENCED.finditer(page):
        before = page[end : fenced.start()].strip()
        found.append(Block(fenced[1], fenced[2], before.rpartition("\n\n")[2]))
        end = fenced.end()
    return found


def _plain(text: str) -> str:
    """A pattern for text as it stands; columns may be wider or narrower."""
    return re.sub(r"(?:\\ ){2,}", "[ ]+", re.escape(text))


class Reader:
    """Somebody who follows a page in `folder`. `environment` is that of each new terminal."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.seen: dict[str, str] = {}
        self.commands: list[str] = []
        self._environment = environment
        self._terminals: dict[str, Terminal] = {}
        self._place = ORDINALS[0]

    def follow(self, page: str) -> None:
        """Does what the page says; fails the test where something else happens."""
        for block in blocks_of(page):
            if block.kind == "python":
                self._write(block)
            elif block.kind == "console":
                named = re.findall(rf"\b({'|'.join(ORDINALS)}) terminal", block.paragraph)
                self._place = named[-1] if named else self._place
                self._play(block.body)
            else:
                assert block.kind == "text", f"a block of kind {block.kind!r} is not tried"

    def _write(self, block: Block) -> None:
        named = re.findall(r"`(\w+\.py)`", block.paragraph)
        assert named, f"no file is named before\n{block.body}"
        (self.folder / named[-1]).write_text(block.body)

    @property
    def terminal(self) -> Terminal:
        """The one in use."""
        if self._place not in self._terminals:
            self._terminals[self._place] = Terminal(self.folder, self._environment)
        return self._terminals[self._place]

    def _play(self, body: str) -> None:
        """The commands of a block, each with the lines after it."""
        for piece in re.split(r"^(?=\$ |\^C$)", body, flags=re.MULTILINE):
            line, _, output = piece.partition("\n")
            if line == "^C":
                self.terminal.interrupt()
                self.terminal.ended()
                self._compare(output, whole=False)
                assert self.terminal.code in (0, 130), self.terminal.text
            elif line.startswith("$ "):
                self._command(line[2:], output)
            elif piece:
                self._compare(piece, whole=False)

    def _command(self, line: str, output: str) -> None:
        self.commands.append(line)
        for shown, real in self.seen.items():
            line = line.replace(shown, real)
        self.terminal.type(line)
        if STAYS.match(line):
            self._compare(output, whole=False)
            return
        self.terminal.ended()
        self._compare(output, whole=True)
        assert self.terminal.code == 0, f"{line} ended with {self.terminal.code}"

    def _compare(self, output: str, *, whole: bool) -> None:
        """Waits for the output of the page, and learns from it."""
        names: dict[str, str] = {}
        text = "".join(self._pattern(line, names) for line in output.splitlines())
        wanted = re.compile(rf"\A{text}\s*\Z" if whole else text)
        if whole:
            found = wanted.search(self.terminal.text)
            assert found, f"{self.commands[-1]}\nwrote:\n{self.terminal.text}\nnot:\n{output}"
        else:
            found = self.terminal.shows(wanted)
        for name, shown in names.items():
            assert found[name] not in self.seen.values(), f"{shown} is {found[name]}, seen before"
            self.seen[shown] = found[name]

    def _pattern(self, line: str, names: dict[str, str]) -> str:
        """What a line of the page looks like in truth."""
        if line.strip() == "...":
            return r"(?:.*\n)*?(?:.+\Z)?"  # a last line may have no end
        pattern, end = "", 0
        for token in TOKEN.finditer(line):
            pattern += _plain(line[end : token.start()]) + self._token(token, names)
            end = token.end()
        return pattern + _plain(line[end:].rstrip()) + r"[ ]*(?:\n|\Z)"

    def _token(self, token: re.Match[str], names: dict[str, str]) -> str:
        kind, shown = str(token.lastgroup), token[0]
        if kind == "any":
            return ".*"
        if kind.startswith("varying"):
            return list(VARYING.values())[int(kind.removeprefix("varying"))]
        if shown in self.seen:
            return re.escape(self.seen[shown])
        given = [name for name, other in names.items() if other == shown]
        if given:
            return f"(?P={given[0]})"
        name = f"{kind}{len(names)}"
        names[name] = shown
        return f"(?P<{name}>{LEARNT[kind]})"

    def close(self) -> None:
        """Closes all terminals."""
        for terminal in self._terminals.values():
            terminal.close()
