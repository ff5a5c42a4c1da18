"""The language of `tests/unit/scripts/*.txt`: commands, `----`, what is expected.

A block is some lines, `----`, the expected text, and an empty line; `#` starts a comment. Lines of
a block that stand beside each other are the commands of ONE log entry; clocks and questions end
an entry. What the entry caused (tasks ready, ended, leases lost, cancellations) follows its
results. Ids are words; `3s`, `250ms`, `2h`, `7d` are times, `4KiB`, `1MiB` sizes.

Clocks move for the entries that follow: `tick 5s` both, `elapsed +5s` cluster time alone, and
`wall +1h` the log's wall time alone. `repeat 25 line ; line` runs lines many times, each as an
entry of its own, with `{n}` for the number, and shows what the last round said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from taskq import commands
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Machine
from taskq.machine.task import Task
from taskq.machine.view import MemoryView
from tests.unit.machine.show import name_of, show_question, show_result
from tests.unit.machine.whole import check_whole, tasks_of

WORD = re.compile(r"\S+")
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
# When every script starts: wall time, so that "run at" has a past; cluster time starts at 0.
WALL_START_MS = 1_000_000_000


@dataclass
class Block:
    """Comments above, lines, expected text."""

    comments: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    line_number: int = 0


def parse(text: str) -> list[Block]:
    """The blocks of a script."""
    blocks, block, below = [], Block(), False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if not line.strip():
            if block.comments or block.lines:
                blocks.append(block)
            block, below = Block(), False
        elif below:
            block.expected.append(line)
        elif line.startswith("----"):
            below = True
        elif line.startswith("#"):
            block.comments.append(line)
        else:
            block.line_number = block.line_number or number
            block.lines.append(line)
    return blocks


def write(blocks: list[Block]) -> str:
    """A script with these blocks."""
    parts = []
    for block in blocks:
        lines = [*block.comments, *block.lines]
        if block.lines:
            lines += ["----", *block.expected]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def milliseconds(text: str) -> int:
    """`3s` -> 3000."""
    match = re.fullmatch(r"\+?(\d+)(ms|s|m|h|d)", text)
    assert match, f"{text}: not a time such as 5s"
    return int(match[1]) * UNITS[match[2]]


def size(text: str) -> int:
    """`4KiB` -> 4096; a bare number is bytes."""
    match = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)?", text)
    assert match, f"{text}: not a size such as 4KiB"
    return int(match[1]) * SIZES[match[2] or "B"]


def id_of(word: str) -> bytes:
    """The 16 bytes that a word stands for."""
    assert len(word) <= 16, word
    return word.encode().ljust(16, b"\0")


def data(text: str) -> bytes:
    """`size:4KiB` -> so many bytes; else the text itself."""
    return b"x" * size(text[5:]) if text.startswith("size:") else text.encode()


class Words:
    """Positional words and `name=value` of one line; every one must be used."""

    def __init__(self, line: str) -> None:
        words = WORD.findall(line)
        self.verb = words[0]
        self.plain = [word for word in words[1:] if "=" not in word]
        self.named = dict(word.split("=", 1) for word in words[1:] if "=" in word)

    def next(self) -> str:
        return self.plain.pop(0)

    def has(self, word: str) -> bool:
        found = word in self.plain
        if found:
            self.plain.remove(word)
        return found

    def fields(self, **kinds: tuple[str, Callable[[str], Any]]) -> dict[str, Any]:
        """Field name -> value, for those that the line names."""
        found = {}
        for name, (target, convert) in kinds.items():
            if name in self.named:
                found[target] = convert(self.named.pop(name))
        return found

    def done(self) -> None:
        assert (self.plain, self.named) == ([], {}), "words that were not understood"


def _yes(text: str) -> bool:
    return {"yes": True, "no": False}[text]


def _pairs(text: str) -> dict[str, str]:
    pairs = dict(pair.split(":", 1) for pair in text.split(",") if pair)
    return {name: data(value).decode() for name, value in pairs.items()}


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _spaced(text: str) -> str:
    return "x" * size(text[5:]) if text.startswith("size:") else text.replace("_", " ")


_MS = milliseconds


def _submit(words: Words) -> commands.SubmitTask:
    queue = words.next()
    fields = words.fields(
        id=("id", id_of),
        name=("name", _spaced),
        payload=("payload", data),
        priority=("priority", lambda text: {"high": 255, "low": 50}.get(text) or int(text)),
        delay=("delay_ms", _MS),
        run_at=("run_at_wall_ms", lambda text: WALL_START_MS + _MS(text)),
        ttl=("ttl_ms", _MS),
        timeout=("timeout_ms", _MS),
        retries=("max_retries", int),
        backoff=("backoff_ms", _MS),
        backoff_max=("backoff_max_ms", _MS),
        headers=("headers", _pairs),
        keep_result=("keep_result", _yes),
    )
    return commands.SubmitTask(fields.pop("id", None), queue, **fields)


def _claim(words: Words) -> commands.ClaimTask:
    worker, number = id_of(words.next()), int(words.next().removeprefix("#"))
    queues = words.next().split(",")
    lowest = int(words.named.pop("lowest", "1"))
    fields = words.fields(max=("max_tasks", int), lease=("lease_ms", _MS))
    return commands.ClaimTask(worker, number, lowest, queues, **fields)


def _token(words: Words) -> tuple[bytes, int]:
    return id_of(words.next()), int(words.named.pop("token"))


def _complete(words: Words) -> commands.TaskResult:
    return commands.TaskResult(*_token(words), True, **words.fields(result=("result", data)))


def _fail(words: Words) -> commands.TaskResult:
    fields = words.fields(error=("error", _spaced), retry=("retry", _yes))
    return commands.TaskResult(*_token(words), False, **fields)


def _release(words: Words) -> commands.Nack:
    unknown = words.has("unknown")
    fields = words.fields(delay=("delay_ms", _MS))
    return commands.Nack(*_token(words), **fields, unknown_task=unknown)


def _extend(words: Words) -> commands.ExtendLease:
    return commands.ExtendLease(*_token(words), **words.fields(lease=("lease_ms", _MS)))


def _heartbeat(words: Words) -> commands.Heartbeat:
    worker = id_of(words.next())
    tokens = _numbers(words.named.pop("tokens", ""))
    fields = words.fields(
        lowest=("lowest_unanswered", int), cpu=("cpu_permille", int), memory=("memory_size", size)
    )
    return commands.Heartbeat(worker, tokens, **fields)


def _register(words: Words) -> commands.RegisterWorker:
    fields = words.fields(
        name=("name", str), concurrency=("concurrency", int), every=("heartbeat_interval_ms", _MS)
    )
    return commands.RegisterWorker(id_of(words.next()), **fields)


def _ids(words: Words) -> list[bytes]:
    return [id_of(word) for word in words.next().split(",")]


def _configure(words: Words) -> commands.Configure:
    settings = {}
    for name, text in words.named.items():
        settings[name] = _MS(text) if name.endswith("_ms") else size(text)
    words.named.clear()
    return commands.Configure(settings)


COMMANDS: dict[str, Callable[[Words], Any]] = {
    "submit": _submit,
    "claim": _claim,
    "complete": _complete,
    "fail": _fail,
    "ack": lambda words: commands.Ack(*_token(words)),
    "release": _release,
    "extend": _extend,
    "heartbeat": _heartbeat,
    "register": _register,
    "deregister": lambda words: commands.DeregisterWorker(id_of(words.next())),
    "cancel": lambda words: commands.CancelTask(id_of(words.next()), words.has("force")),
    "create": lambda words: commands.CreateQueue(
        words.next(), **words.fields(ageing=("ageing_ms", _MS), lease=("lease_ms", _MS))
    ),
    "pause": lambda words: commands.PauseQueue(words.next()),
    "resume": lambda words: commands.ResumeQueue(words.next()),
    "purge": lambda words: commands.PurgeQueue(words.next(), **words.fields(limit=("limit", int))),
    "drop": lambda words: commands.DeleteQueue(words.next()),
    "redrive": lambda words: commands.RedriveDead(_ids(words)),
    "delete": lambda words: commands.DeleteDead(_ids(words)),
    "advance": lambda words: commands.Advance(**words.fields(limit=("limit", int))),
    "retain": lambda words: commands.Retain(**words.fields(limit=("limit", int))),
    "configure": _configure,
    "skip": lambda words: commands.SkipTokens(int(words.next())),
    "raise": lambda words: commands.RaiseLevel(int(words.next())),
}


def command_of(line: str) -> Any:
    """The command of a line; `batch one | two` is the batch form of submit, complete and fail."""
    if line.startswith("batch "):
        members = [command_of(part.strip()) for part in line.removeprefix("batch ").split("|")]
        if isinstance(members[0], commands.SubmitTask):
            return commands.SubmitTasks([list(member) for member in members])
        return commands.TaskResults([list(member) for member in members])
    words = Words(line)
    command = COMMANDS[words.verb](words)
    words.done()
    return command


class Script:
    """A machine over a view in memory, and the clocks. With `restarting`, the machine is built anew
    over the same view after every entry and question. `watch` sees every command before it runs."""

    def __init__(
        self,
        *,
        restarting: bool = False,
        limit: Callable[[str, int], None] | None = None,
        watch: Callable[[dict[bytes, Task], Any], None] | None = None,
    ) -> None:
        self.view = MemoryView()
        self.machine = Machine(self.view)
        self.elapsed, self.wall = 0, WALL_START_MS
        self._restarting, self._limit, self._watch = restarting, limit, watch

    def run(self, lines: list[str]) -> list[str]:
        """What the lines of a block say."""
        shown: list[str] = []
        entry: list[tuple[str, Any]] = []
        for line in lines:
            if line.split()[0] in COMMANDS or line.startswith("batch "):
                entry.append((line, command_of(line)))
                continue
            shown += self._apply(entry)
            entry = []
            shown += self._other(line)
        return shown + self._apply(entry)

    def restart(self) -> None:
        """Forgets everything that is not in the view."""
        self.machine = Machine(self.view)

    def _apply(self, entry: list[tuple[str, Any]]) -> list[str]:
        if not entry:
            return []
        if self._watch is not None:
            for _, command in entry:
                self._watch(self.tasks(), command)
        raw = encode_entry(self.elapsed, self.wall, [command for _, command in entry])
        applied = self.machine.apply(raw)
        shown: list[str] = []
        for (_, command), result in zip(entry, applied.results, strict=True):
            shown += show_result(command, self.machine.reply(result))
        caused = [f"ready {queue}" for queue in sorted(applied.readied)]
        caused += [f"ended {name_of(task_id)}" for task_id in applied.ended]
        caused += [f"stop {name_of(one.task_id)}" for one in applied.cancels]
        for lost in applied.lost:
            caused.append(f"lost {name_of(lost.task_id)} {lost.why} expiries={lost.expiries}")
        if caused:
            shown.append("-> " + ", ".join(caused))
        self.machine.check()
        check_whole(self.view)
        if self._restarting:
            self.restart()
        return shown

    def tasks(self) -> dict[bytes, Task]:
        """All tasks by id."""
        return {task.id: task for task in tasks_of(self.view)}

    def _other(self, line: str) -> list[str]:
        words = Words(line)
        if words.verb == "repeat":
            return self._repeat(line)
        if words.verb in ("tick", "elapsed", "wall"):
            step = milliseconds(words.next())
            self.elapsed += step * (words.verb != "wall")
            self.wall += step * (words.verb != "elapsed")
            return []
        if words.verb == "limit":
            assert self._limit is not None
            for name, value in words.named.items():
                self._limit(name, size(value))
            return []
        if words.verb == "restart":
            self.restart()
            return []
        shown = show_question(self.machine, self.view, words, WALL_START_MS)
        if self._restarting:
            self.restart()
        return shown

    def _repeat(self, line: str) -> list[str]:
        _, count, rest = line.split(None, 2)
        shown: list[str] = []
        for number in range(1, int(count) + 1):
            shown = []
            for part in rest.split(" ; "):
                shown += self.run([part.strip().replace("{n}", str(number))])
        return shown
