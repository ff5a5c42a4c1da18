"""Writes `docs/protocol.md` from the registry: `python -m taskq.protocol.page > docs/protocol.md`.

Tables are generated, prose comes from `page_text.py`, meanings of fields from `page_fields.py`,
the examples from the codec (`page_examples.py`). A test compares the file with what is rendered.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskq import limits
from taskq.commands import PROTOCOL_VERSION
from taskq.errors import MEANINGS, RETRYABLE, Refusal
from taskq.fields import Kind, ListOf, Maybe, Record, kinds_of
from taskq.protocol import page_text, unpack
from taskq.protocol.codec import FORMAT, NO_REQUEST, REFUSAL_TYPE, REPLY_BIT
from taskq.protocol.connection import HELLO_SIZE_MAX
from taskq.protocol.page_examples import render_examples, shown_value
from taskq.protocol.page_fields import meaning_of
from taskq.registry import MESSAGES, Message, Role, Sort
from taskq.results import FINAL_STATES, TaskState

_ROWS = sorted(MESSAGES.values(), key=lambda row: row.code)
_NUMBERS = {
    "version": PROTOCOL_VERSION,
    "format": FORMAT,
    "refusal_type": REFUSAL_TYPE,
    "no_request": NO_REQUEST,
    "frame_size_max": limits.FRAME_SIZE_MAX,
    "length_max": limits.FRAME_SIZE_MAX + 1,
    "hello_size_max": HELLO_SIZE_MAX,
    "array_count_least": unpack.ARRAY_COUNT_LEAST,
    "large_array_count_max": unpack.LARGE_ARRAY_COUNT_MAX,
    "map_count_max": unpack.MAP_COUNT_MAX,
    "plain_size_max": unpack.PLAIN_SIZE_MAX,
    "deadline_default": limits.DEADLINE_MS_DEFAULT,
    "claims_remembered": limits.CLAIMS_REMEMBERED_MAX,
    "unknown_releases": limits.UNKNOWN_RELEASES_MAX,
}

_STATE_MEANINGS = {
    TaskState.SCHEDULED: "waits for its time: `delay_ms`, `run_at_wall_ms`, or the delay of a Nack",
    TaskState.READY: "waits for a claim",
    TaskState.LEASED: "runs at a worker, under a lease",
    TaskState.RETRYING: "waits for the delay before a retry",
    TaskState.COMPLETED: "done",
    TaskState.DEAD: "failed for good; kept as a dead letter",
    TaskState.CANCELLED: "cancelled",
    TaskState.EXPIRED: "its TTL ended before a worker took it",
}

_ROLES = {
    Role.ANYONE: "none",
    Role.PRODUCER: "producer",
    Role.WORKER: "worker",
    Role.ADMIN: "admin",
}


def render() -> str:
    """The whole page, as Markdown."""
    chapters = [
        page_text.BEGINNING.format(**_NUMBERS),
        render_examples(),
        page_text.SESSION.format(**_NUMBERS),
        page_text.REFUSALS + "\n" + _codes() + "\n### Refusal\n\n" + _fields(Refusal),
        page_text.REPEATING,
        "## Tasks\n\n### States\n\n" + _states(),
        page_text.TASKS.format(**_NUMBERS),
        page_text.BACKUPS,
        page_text.VERSIONS,
        "## Messages\n\n" + _overview(),
        *(_message(row) for row in _ROWS if row.sort is not Sort.INTERNAL),
        "## Replies, and records inside messages\n",
        *_records(),
        _limits(),
    ]
    return "\n".join(chapter.rstrip("\n") + "\n" for chapter in chapters)


def _codes() -> str:
    rows = [
        f"| `{code}` | {meaning} | {'yes' if code in RETRYABLE else 'no'} |"
        for code, meaning in MEANINGS.items()
    ]
    return "\n".join(["| code | meaning | again |", "|---|---|---|", *rows]) + "\n"


def _states() -> str:
    rows = [
        f"| {state.value} | {state.name.lower()} | {meaning} |"
        f" {'yes' if state in FINAL_STATES else ''} |"
        for state, meaning in _STATE_MEANINGS.items()
    ]
    return "\n".join(["| on the wire | state | meaning | final |", "|---|---|---|---|", *rows])


def _overview() -> str:
    rows = ["| code | message | role | reply | type of the reply |", "|---|---|---|---|---|"]
    for row in _ROWS:
        if row.sort is Sort.INTERNAL:
            continue
        reply = f"{_link(row.reply)} | 0x{row.code | REPLY_BIT:02X}" if row.reply else "(a push) |"
        rows.append(f"| 0x{row.code:02X} | {_link(row.shape)} | {_ROLES[row.role]} | {reply} |")
    note = (
        "Role: what the key given in Hello must carry where the cluster asks for keys; `admin` may"
        " send everything.\n\n"
    )
    return note + "\n".join(rows)


def _message(row: Message) -> str:
    who = f"role {_ROLES[row.role]}" if row.reply else "pushed by the node"
    text = f"### {row.name}\n\nType 0x{row.code:02X}, {who}. {_prose(row.shape)}\n\n"
    text += _fields(row.shape)
    if row.reply:
        text += f"\nReply: type 0x{row.code | REPLY_BIT:02X}, {_link(row.reply)}"
        text += f", each good answer being {_link(row.member)}.\n" if row.member else ".\n"
    return text


def _link(shape: type) -> str:
    return f"[{shape.__name__}](#{shape.__name__.lower()})"


def _prose(shape: type) -> str:
    return " ".join((shape.__doc__ or "").split())


def _fields(shape: type) -> str:
    kinds = kinds_of(shape)
    if not kinds:
        return "No fields: an empty array.\n"
    defaults = shape._field_defaults  # type: ignore[attr-defined]
    rows = ["| # | field | allowed | default | meaning |", "|---|---|---|---|---|"]
    for position, (name, kind) in enumerate(kinds.items()):
        default = f"`{shown_value(defaults[name])}`" if name in defaults else ""
        cells = (position, f"`{name}`", kind.allowed(), default, meaning_of(shape, name))
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"


def _records() -> Iterator[str]:
    """A chapter for each shape that is not a message itself."""
    told = {row.shape for row in _ROWS}
    wanted = [shape for row in _ROWS for shape in (row.reply, row.member) if shape]
    while wanted:
        shape = wanted.pop(0)
        if shape not in told:
            told.add(shape)
            yield f"### {shape.__name__}\n\n{_prose(shape)}\n\n{_fields(shape)}"
            wanted = [inner for inner in _inside(shape) if inner] + wanted


def _inside(shape: type) -> list[type | None]:
    return [_record_in(kind) for kind in kinds_of(shape).values()]


def _record_in(kind: Kind) -> type | None:
    while isinstance(kind, (ListOf, Maybe)):
        kind = kind.inner
    return kind.shape if isinstance(kind, Record) else None


def _limits() -> str:
    bounds = ", ".join(map(str, limits.DURATION_BUCKETS_MS))
    rows = [
        ("payload of a frame", f"{limits.FRAME_SIZE_MAX} bytes"),
        ("payload of a task, result", "`payload_size_max`, `result_size_max` of the HelloReply"),
        ("members of a batch", limits.BATCH_COUNT_MAX),
        ("error text that is kept", f"{limits.ERROR_SIZE_MAX} bytes; longer ones are cut"),
        ("queues of a cluster", limits.QUEUE_COUNT_MAX),
        ("workers of a cluster", limits.WORKER_COUNT_MAX),
        ("ended runs kept with a task", limits.ATTEMPT_HISTORY_MAX),
        ("unconfirmed claims of a worker", limits.CLAIMS_REMEMBERED_MAX),
        ("records one listing looks at", f"{limits.LIST_SCAN_MAX}; a page may be short, go on"),
        ("deadline of a request by default", f"{limits.DEADLINE_MS_DEFAULT} ms"),
        ("upper bounds of `durations`", f"{bounds} ms, then the rest"),
    ]
    table = "\n".join(f"| {what} | {most} |" for what, most in rows)
    return f"## Limits\n\nLimits of single fields are in their tables.\n\n| | |\n|---|---|\n{table}"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201  # the page goes to standard output
