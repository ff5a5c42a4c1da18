"""What all commands share: how an error ends one, and the options of those that need a cluster."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import click

from taskq.cli import exits
from taskq.cli.output import DEBUG_VARIABLE, debugging, note, print_json_line
from taskq.cli.quantity import parse_duration
from taskq.client import Client
from taskq.client.credential import KEY_VARIABLE
from taskq.client.tls import VARIABLES
from taskq.errors import (
    ConnectionFailed,
    ErrorCode,
    PermissionDenied,
    RequestRefused,
    TaskError,
    TaskqError,
)

# A person waits for an answer: shorter than the client library's own deadline.
REQUEST_TIMEOUT = "5s"
URL_VARIABLE = "TASKQ_URL"

# Where a command keeps the task that it is about, in the context of click.
_TASK_ID = "taskq.task_id"

Function = TypeVar("Function", bound=Callable[..., Any])
Item = TypeVar("Item")
Done = TypeVar("Done")


class Failure(TaskqError):
    """Ends a command with a sentence and an exit code."""

    def __init__(self, message: str, code: int = exits.FAILED) -> None:
        super().__init__(message)
        self.code = code


class Command(click.Command):
    """A command whose errors become one plain sentence on standard error and an exit code; with
    `--json` also a document {"error": ...} on standard output."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            note("")
            raise click.exceptions.Exit(exits.INTERRUPTED) from None
        except BrokenPipeError:
            # As for `| head`: the reader has what it wanted, and says itself if it has not.
            _let_go_of_stdout()
            raise click.exceptions.Exit(exits.OK) from None
        except Exception as error:  # noqa: BLE001 - the outermost place: told, and the command ends
            code = report(error, bool(ctx.params.get("as_json")), ctx.meta.get(_TASK_ID))
            raise click.exceptions.Exit(code) from None


class CommandGroup(click.Group):
    """A group of such commands."""

    command_class = Command


def concerns(task_id: UUID) -> None:
    """From now on an error of the running command is one about this task: its document says so."""
    click.get_current_context().meta[_TASK_ID] = task_id


def _let_go_of_stdout() -> None:
    """Whoever read our output has gone; the interpreter must not complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def report(error: BaseException, as_json: bool, task_id: UUID | None = None) -> int:
    """Tells an error, in its document with the id of the task that it is about; its exit code."""
    if debugging():
        note("".join(traceback.format_exception(error)))
    code = error.code if isinstance(error, Failure) else exits.exit_code_of(error)
    text = sentence(error)
    if as_json:
        document: dict[str, Any] = {"kind": type(error).__name__, "message": text, "exit": code}
        if isinstance(error, RequestRefused):
            document |= {"code": str(getattr(error.code, "value", error.code))}
            document |= {"retry_after": error.retry_after}
        if task_id is not None:
            document |= {"id": task_id}
        print_json_line({"error": document})
    note(text)
    return code


def for_each(
    items: Sequence[Item], do: Callable[[Item], Done]
) -> tuple[list[Done], dict[Item, str], int]:
    """What was done, the errors by item, which are told at once, and the exit code. An error with
    the only item is raised."""
    done: list[Done] = []
    errors: dict[Item, str] = {}
    code = exits.OK
    for item in items:
        try:
            done.append(do(item))
        except TaskqError as error:
            if len(items) == 1:
                raise
            code = max(code, report(error, as_json=False))
            errors[item] = str(error)
    return done, errors, code


def sentence(error: BaseException) -> str:
    """An error in words that name what to change."""
    text = str(error) or type(error).__name__
    if isinstance(error, Failure | TaskError) or "\n" in text:
        return text
    if isinstance(error, ConnectionFailed):
        return (
            f"Cannot reach the cluster: {text}. Is it running? --url or {URL_VARIABLE} says where."
        )
    if isinstance(error, PermissionDenied):
        hint = ""
        if error.code == ErrorCode.UNAUTHENTICATED:
            hint = f" The key is in {KEY_VARIABLE}, or in the url: taskq://KEY@host:port."
        return f"Not allowed: {text}.{hint}"
    if isinstance(error, TaskqError | TimeoutError | ValueError):
        return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "]", "\n")) else ".")
    if isinstance(error, OSError) and error.strerror:
        return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror}."
    return f"Unexpected {type(error).__name__}: {text}. {DEBUG_VARIABLE}=1 shows where."


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """Seconds, or a number with a unit."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds. Fails with what is allowed."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()


def json_option(function: Function) -> Function:
    """Adds `--json` as the argument `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output."
    )(function)


def url_option(function: Function) -> Function:
    """Adds `--url`."""
    return click.option(
        "--url",
        envvar=URL_VARIABLE,
        show_envvar=True,
        metavar="URL",
        help="Where the cluster is: taskq://KEY@host1:6379,host2. Default: taskq://127.0.0.1:6379.",
    )(function)


def cluster_options(function: Function) -> Function:
    """Adds what every command that talks to a cluster takes."""
    patience = click.option(
        "--request-timeout",
        type=DURATION,
        default=REQUEST_TIMEOUT,
        show_default=True,
        help="How long to try to get an answer from the cluster.",
    )
    return url_option(patience(json_option(function)))


def _wrong_place(text: str) -> click.BadParameter:
    """Names the variables that are wrong, where they are and not the url."""
    names, _, rest = text.partition(": ")
    if rest and set(names.split(", ")) <= {KEY_VARIABLE, *VARIABLES.values()}:
        return click.BadParameter(rest, param_hint=names)
    where = KEY_VARIABLE if text.startswith(KEY_VARIABLE) else f"--url / {URL_VARIABLE}"
    return click.BadParameter(text, param_hint=where)


@contextmanager
def connected(url: str | None, request_timeout_secs: float) -> Iterator[Client]:
    """A client for one command. A url that cannot be is a mistake on the command line."""
    try:
        client = Client(url, timeout=request_timeout_secs, name="taskq command line")
    except ValueError as error:
        raise _wrong_place(str(error)) from None
    with client:
        yield client
