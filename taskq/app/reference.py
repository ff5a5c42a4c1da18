"""Writes `docs/reference.md` from the docstrings of the public names of `taskq`:
`python -m taskq.app.reference > docs/reference.md`.

A test compares the file with what is rendered. A public name without a place in a chapter, and a
method without a docstring, stop the page.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import taskq
from taskq.errors import MEANINGS, ErrorCode
from taskq.protocol.page_fields import meaning_of

BEGINNING = """\
# Public names

Generated from the docstrings of the package `taskq`: after a change, `make docs`. Whatever is not
on this page may change without notice. `Duration` is a number of seconds or a `timedelta`;
`TaskIdLike` is a `UUID`, its text or its 16 bytes. Every method that asks the cluster may raise
what [repeats and errors](client.md#repeats-and-errors) lists.
"""

CHAPTERS = {
    "Apps": ["App", "Task", "Submission", "Handle", "AsyncHandle"],
    "Inside a task": ["current_task", "TaskContext", "raw"],
    "Workers": ["Worker", "NoRetry", "WorkerError", "WorkerLost"],
    "Clients": ["Client", "AsyncClient", "TaskSpec", "TaskHandle", "AsyncTaskHandle"],
    "Workers by hand": ["WorkerSession", "AsyncWorkerSession", "ClaimedTask", "HeartbeatReply"],
    "What the cluster says": [
        *("TaskStatus", "TaskState", "TaskAttempt", "CancelStatus"),
        *("QueueStatus", "WorkerStatus", "Stats"),
    ],
    "Errors": [
        *("TaskqError", "RequestRefused", "InvalidRequest", "NotFound", "StaleToken", "QueueFull"),
        *("PermissionDenied", "Unavailable", "ConnectionFailed", "OutcomeUnknown", "ProtocolError"),
        *("TaskError", "TaskFailed", "TaskCancelled", "TaskExpired", "ErrorCode"),
    ],
}
# Methods that modules of ours call on each other; no program needs them.
INSIDE = {
    *("App.submit_spec", "App.submit_spec_async", "App.worker_functions", "App.worker_queues"),
    *("App.worker_url", "TaskContext.cancel", "Worker.run_ended", "Worker.run_given_back"),
    *("Worker.room_made", "Worker.extend", "AsyncClient.send", "AsyncClient.pages"),
    *("TaskSpec.command", "AsyncWorkerSession.pushed", "AsyncWorkerSession.lowest_unanswered"),
}
# A signature that is longer stands on several lines.
SIGNATURE_WIDTH = 88


def render() -> str:
    """The whole page, as Markdown. Raises KeyError for a public name without a place, and
    ValueError for one without a docstring."""
    placed = [name for names in CHAPTERS.values() for name in names]
    if odd := set(placed) ^ set(taskq.__all__):
        raise KeyError(f"public names and chapters differ in {', '.join(sorted(odd))}")
    chapters = [
        f"## {title}\n\n" + "\n".join(_entry(name) for name in names)
        for title, names in CHAPTERS.items()
    ]
    return "\n".join([BEGINNING, *chapters])


def _entry(name: str) -> str:
    thing = getattr(taskq, name)
    parts = [f"### {name}\n"]
    if not isinstance(thing, type):
        parts.append(_code(_signature(name, thing)))
        parts.append(_prose(thing, name))
    elif issubclass(thing, Enum):
        parts.append(_prose(thing, name))
        parts.append(_members(thing))
    else:
        parts.extend(_class(name, thing))
    return "\n".join(part for part in parts if part)


def _class(name: str, thing: type) -> Iterator[str]:
    base = thing.__mro__[1]
    if base.__name__ in taskq.__all__:
        yield f"A [{base.__name__}](#{base.__name__.lower()}).\n"
    if _is_made_by_callers(thing):
        yield _code(_signature(name, thing))
    yield _prose(thing, name)
    if hasattr(thing, "_fields"):
        yield _fields(thing)
    elif dataclasses.is_dataclass(thing) and not _is_made_by_callers(thing):
        yield _attributes(thing)
    for key, member in vars(thing).items():
        if not key.startswith("_") and f"{name}.{key}" not in INSIDE:
            yield _member(f"{name}.{key}", key, member)


def _is_made_by_callers(thing: type) -> bool:
    """Whether a program calls the class; all others come out of the library."""
    return thing in (taskq.App, taskq.Client, taskq.AsyncClient, taskq.Worker, taskq.TaskSpec)


def _member(title: str, key: str, member: Any) -> str:
    """A method or property; nothing for other attributes."""
    if isinstance(member, property):
        assert member.fget is not None
        kind = member.fget.__annotations__.get("return", "")
        return f"#### `{title}`\n\n{_typed(kind)}. {_prose(member, title)}"
    if inspect.isfunction(member):
        begin = "async " if inspect.iscoroutinefunction(member) else ""
        signature = _code(begin + _signature(key, member))
        return f"#### `{title}`\n\n{signature}\n{_prose(member, title)}"
    return ""


def _prose(thing: Any, title: str) -> str:
    text = inspect.cleandoc(vars(thing).get("__doc__") or "") if isinstance(thing, type) else ""
    text = text or inspect.getdoc(thing) or ""
    if not text or text.startswith(f"{title}("):  # what a dataclass makes of itself
        raise ValueError(f"{title} has no docstring")
    return text + "\n"


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _signature(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name not in ("self", "link")]
    shown = [_parameter(one) for one in parameters]
    kinds = [one.kind for one in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    end = "" if isinstance(function, type) else f" -> {_typed(signature.return_annotation, '')}"
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) <= SIGNATURE_WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){end}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = re.sub(r"[:=].*", "", str(parameter)).rstrip()  # with its stars
    if parameter.annotation is not inspect.Parameter.empty:
        text += f": {_typed(parameter.annotation, '')}"
    if parameter.default is not inspect.Parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def _default(value: object) -> str:
    return "..." if isinstance(value, Enum) else repr(value)


def _typed(annotation: object, mark: str = "`") -> str:
    """A type as a reader of the public interface knows it."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r" \| _Unset\b", "", text)
    return f"{mark}{text}{mark}"


def _fields(shape: Any) -> str:
    rows = [f"| `{name}` | {meaning_of(shape, name)} |" for name in shape._fields]
    return "\n".join(["| field | meaning |", "|---|---|", *rows]) + "\n"


def _attributes(shape: Any) -> str:
    rows = [
        f"| `{field.name}` | {_typed(field.type).replace(' | ', ' or ')} |"  # no new column
        for field in dataclasses.fields(shape)
    ]
    return "\n".join(["| attribute | type |", "|---|---|", *rows]) + "\n"


def _members(kind: type[Enum]) -> str:
    if kind is ErrorCode:
        rows = [f"| `{code}` | {meaning} |" for code, meaning in MEANINGS.items()]
        return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"
    return ", ".join(f"`{member.name}`" for member in kind) + ".\n"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201  # the page goes to standard output
