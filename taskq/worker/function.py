"""How a task's payload becomes the arguments of a Python function, and what it returns a result.

Payload convention, for functions that are not marked `raw`:

    header   content-type: application/json or application/msgpack   (missing: JSON)
    payload  {"args": [...], "kwargs": {...}}     both keys may be missing, and an empty payload
                                                  calls the function without any
    result   what the function returned, written as the payload was

A function marked with `@raw` takes the payload as `bytes` and returns `bytes` or None. Coroutine
functions may be either. What cannot work the next time either (a payload outside the convention,
a result that cannot be written) fails without a retry; an exception of the function is retried,
unless it is a `NoRetry`.

Knows neither processes nor the network; the parent and the pool processes both call it.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from taskq.limits import ERROR_SIZE_MAX, FRAME_MARGIN, FRAME_SIZE_MAX
from taskq.worker.codec import CONTENT_TYPE_HEADER, JSON, Codec, codec_of

# A larger result fits no frame, whatever the broker's `result_size_max` allows.
RESULT_SIZE_MAX = FRAME_SIZE_MAX - FRAME_MARGIN

_RAW_MARK = "__taskq_raw__"

Function = TypeVar("Function", bound=Callable[..., Any])


class Ended(NamedTuple):
    """How a run ended: with a result, or with an error text and whether to try again."""

    ok: bool
    result: bytes | None = None
    error: str = ""
    retry: bool = True


class NoRetry(Exception):
    """Raised by a task's function: another attempt would not help. The task becomes a dead letter
    at once, however many retries it has left; the text says why. Subclasses do the same."""

    __module__ = "taskq"  # as people import it, and as a traceback shows it


def raw(function: Function) -> Function:
    """Marks a function that takes the payload as bytes and returns bytes or None."""
    setattr(function, _RAW_MARK, True)
    return function


def is_raw(function: Callable[..., Any]) -> bool:
    """Whether `function` is marked."""
    return getattr(function, _RAW_MARK, False)


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
    if is_raw(function):
        return [payload], {}
    if not payload:
        return [], {}
    codec = _codec(headers)
    try:
        body = codec.decode(payload)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError, too
        raise PayloadError(f"The payload is not {codec.name.upper()}: {error}") from error
    if not isinstance(body, dict) or not body.keys() <= {"args", "kwargs"}:
        raise PayloadError('The payload must be {"args": [...], "kwargs": {...}}.')
    positional, named = body.get("args", []), body.get("kwargs", {})
    if not isinstance(positional, list) or not isinstance(named, dict):
        raise PayloadError('In the payload "args" must be a list and "kwargs" an object.')
    return positional, named


def _codec(headers: Mapping[str, str]) -> Codec:
    if not headers:
        return JSON
    codec = codec_of(headers.get(CONTENT_TYPE_HEADER))
    if codec is None:
        raise PayloadError(
            f"The payload is {headers[CONTENT_TYPE_HEADER]}, and this function takes JSON or "
            "msgpack; mark it with @taskq.raw to get the bytes."
        )
    return codec


def pack_result(function: Callable[..., Any], value: Any, headers: Mapping[str, str]) -> Ended:
    """The outcome of a run that returned `value`."""
    if is_raw(function):
        if value is not None and not isinstance(value, bytes | bytearray | memoryview):
            kind = type(value).__name__
            return Ended(False, None, f"A raw function must return bytes or None, not {kind}.")
        packed = None if value is None else bytes(value)
    else:
        # The headers of a task without a payload may name a type that we never had to read.
        codec = codec_of(headers.get(CONTENT_TYPE_HEADER)) or JSON
        if flaw := codec.flaw(value, "the result"):
            text = f"The result cannot be written as {codec.name.upper()}: {flaw}."
            return Ended(False, None, text, False)
        packed = codec.encode(value)
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
        return pack_result(function, function(*positional, **named), headers)
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
        return pack_result(function, await function(*positional, **named), headers)
    except PayloadError as error:
        return Ended(False, None, str(error), False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the function's own: it is the outcome
        return failed(error)


def failed(error: BaseException) -> Ended:
    """The failure that an exception of the function stands for."""
    return Ended(False, None, describe(error), not isinstance(error, NoRetry))


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
