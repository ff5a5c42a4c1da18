"""Which Python function a worker runs, and how a task's payload becomes its arguments.

Payload convention, for functions that are not marked `raw`:

    header   content-type: application/json       (may be missing; another value is an error)
    payload  {"args": [...], "kwargs": {...}}     UTF-8 JSON; both keys may be missing, and an
                                                  empty payload calls the function without any
    result   the JSON text of what the function returned

A function marked with `@raw` takes the payload as `bytes` and returns `bytes` or None. Coroutine
functions may be either. What cannot work the next time either (a payload outside the convention,
a result that is no JSON) fails without a retry; an exception of the function is retried.

Knows neither processes nor the network; the parent and the pool processes both call it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from taskq.errors import TaskqError
from taskq.limits import ERROR_SIZE_MAX, FRAME_MARGIN, FRAME_SIZE_MAX

CONTENT_TYPE_HEADER = "content-type"
CONTENT_TYPE_JSON = "application/json"
# A larger result fits no frame, whatever the broker's `result_size_max` allows.
RESULT_SIZE_MAX = FRAME_SIZE_MAX - FRAME_MARGIN
# A script is run again in each pool process under this name, so that its
# `if __name__ == "__main__":` part stays out of it.
SCRIPT_NAME = "__taskq_main__"

_RAW_MARK = "__taskq_raw__"

Function = TypeVar("Function", bound=Callable[..., Any])


class WorkerError(TaskqError):
    """The worker cannot start: the function cannot be loaded, or an option is wrong."""


class Target(NamedTuple):
    """A function by name. `script` is the path of the file where the module was `__main__`."""

    module: str
    name: str
    script: str = ""

    def __str__(self) -> str:
        return f"{self.script or self.module}:{self.name}"


class Ended(NamedTuple):
    """How a run ended: with a result, or with an error text and whether to try again."""

    ok: bool
    result: bytes | None = None
    error: str = ""
    retry: bool = True


def raw(function: Function) -> Function:
    """Marks a function that takes the payload as bytes and returns bytes or None."""
    setattr(function, _RAW_MARK, True)
    return function


def parse_target(text: str) -> Target:
    """The target that "module:function" names. Raises WorkerError for any other form."""
    module, colon, name = text.partition(":")
    if not (colon and module and name) or ":" in name:
        raise WorkerError(
            f"{text!r} does not name a function; write module:function, for example tasks:resize."
        )
    return Target(module, name)


def target_of(function: Callable[..., Any]) -> Target:
    """How a pool process finds `function` again. Raises WorkerError where it cannot."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or "<" in name:
        raise WorkerError(
            f"{name or function!r} cannot be found by name in another process; define it at the "
            'top of a module, or run it with executor="thread".'
        )
    if module != "__main__":
        return Target(module, name)
    script = getattr(sys.modules["__main__"], "__file__", None)
    if not script:
        raise WorkerError(
            f"{name} was defined at a prompt, where another process cannot find it; put it into "
            'a file, or run it with executor="thread".'
        )
    return Target(module, name, os.path.abspath(script))


def load(target: Target) -> Callable[..., Any]:
    """The function that `target` names. Raises WorkerError saying what is missing."""
    try:
        if target.script:
            found: Any = runpy.run_path(target.script, run_name=SCRIPT_NAME)
        else:
            found = vars(importlib.import_module(target.module))
    except ModuleNotFoundError as error:
        raise WorkerError(
            f"Cannot load {target}: there is no module {error.name!r} (looked in the working "
            f"folder {os.getcwd()} and on sys.path)."
        ) from error
    except Exception as error:
        raise WorkerError(
            f"Cannot load {target}: {_where(target)} failed with\n{describe(error)}"
        ) from error
    first, *rest = target.name.split(".")
    if first not in found:
        raise WorkerError(f"Cannot load {target}: {_where(target)} has no {first!r}.")
    function = found[first]
    for part in rest:
        if not hasattr(function, part):
            raise WorkerError(f"Cannot load {target}: {first} has no {part!r}.")
        function = getattr(function, part)
    if not callable(function):
        raise WorkerError(f"Cannot load {target}: it is no function but {type(function).__name__}.")
    return function  # type: ignore[no-any-return]


def _where(target: Target) -> str:
    return target.script or f"module {target.module!r}"


def is_coroutine(function: Callable[..., Any]) -> bool:
    """True where calling `function` gives something to await."""
    return inspect.iscoroutinefunction(function) or (
        not inspect.isfunction(function)
        and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    )


class PayloadError(Exception):
    """The payload is outside the convention; the message says how."""


def arguments(
    function: Callable[..., Any], payload: bytes, headers: Mapping[str, str]
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments for `function`. Raises PayloadError."""
    if getattr(function, _RAW_MARK, False):
        return [payload], {}
    if not payload:
        return [], {}
    content_type = headers.get(CONTENT_TYPE_HEADER, CONTENT_TYPE_JSON)
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE_JSON:
        raise PayloadError(
            f"The payload is {content_type}, and this function takes {CONTENT_TYPE_JSON}; "
            "mark it with @taskq.raw to get the bytes."
        )
    try:
        body = json.loads(payload)
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise PayloadError(f"The payload is not JSON: {error}") from error
    if not isinstance(body, dict) or not body.keys() <= {"args", "kwargs"}:
        raise PayloadError('The payload must be {"args": [...], "kwargs": {...}}.')
    positional, named = body.get("args", []), body.get("kwargs", {})
    if not isinstance(positional, list) or not isinstance(named, dict):
        raise PayloadError('In the payload "args" must be a list and "kwargs" an object.')
    return positional, named


def pack_result(function: Callable[..., Any], value: Any) -> Ended:
    """The outcome of a run that returned `value`."""
    if getattr(function, _RAW_MARK, False):
        if value is not None and not isinstance(value, bytes | bytearray | memoryview):
            kind = type(value).__name__
            return Ended(False, None, f"A raw function must return bytes or None, not {kind}.")
        packed = None if value is None else bytes(value)
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            packed = text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            return Ended(False, None, f"The result cannot be written as JSON: {error}", False)
    if packed is not None and len(packed) > RESULT_SIZE_MAX:
        size = len(packed)
        text = f"The result has {size:,} bytes; at most {RESULT_SIZE_MAX:,} fit a frame."
        return Ended(False, None, text, False)
    return Ended(True, packed)


def run(function: Callable[..., Any], payload: bytes, headers: Mapping[str, str]) -> Ended:
    """Calls a plain function for a task; every exception becomes a failure.

    SystemExit counts as a failure, too: a library that calls `sys.exit` must not end the worker.
    KeyboardInterrupt passes through.
    """
    try:
        positional, named = arguments(function, payload, headers)
        return pack_result(function, function(*positional, **named))
    except PayloadError as error:
        return Ended(False, None, str(error), False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the function's own: it is the outcome
        return failed(error)


async def run_coroutine(
    function: Callable[..., Any], payload: bytes, headers: Mapping[str, str]
) -> Ended:
    """The same for a coroutine function. `asyncio.CancelledError` passes through."""
    try:
        positional, named = arguments(function, payload, headers)
        return pack_result(function, await function(*positional, **named))
    except PayloadError as error:
        return Ended(False, None, str(error), False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the function's own: it is the outcome
        return failed(error)


def failed(error: BaseException) -> Ended:
    """The failure that an exception of the function stands for."""
    return Ended(False, None, describe(error))


def describe(error: BaseException) -> str:
    """The traceback as text, without the frames of this module, at most ERROR_SIZE_MAX bytes.

    The end is kept where it is too long: the last lines say what happened.
    """
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise; the outcome must not be lost
        lines = [f"{type(error).__name__} (its text cannot be shown: {type(broken).__name__})\n"]
    text = "".join(lines).rstrip("\n")
    data = text.encode("utf-8", "replace")
    if len(data) <= ERROR_SIZE_MAX:
        return data.decode()
    mark = b"[...]\n"
    return (mark + data[len(mark) - ERROR_SIZE_MAX :]).decode("utf-8", "ignore")
