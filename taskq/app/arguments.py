"""A call's arguments as a task's payload. What cannot be carried is named before it is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from taskq.worker.codec import CONTENT_TYPE_HEADER, JSON, Codec
from taskq.worker.function import is_raw

CONTENT_TYPE_BYTES = "application/octet-stream"


class Arguments:
    """The arguments that `function` takes, and how `codec` writes them.

    `title` begins the messages. A function marked as raw takes one argument, the bytes.
    """

    def __init__(self, title: str, function: Callable[..., Any], codec: Codec) -> None:
        self.raw = is_raw(function)
        self.headers: dict[str, str] = {}
        if self.raw:
            self.headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE_BYTES}
        elif codec is not JSON:
            self.headers = {CONTENT_TYPE_HEADER: codec.content_type}
        self.codec = codec
        self._title = title
        try:
            self._signature: inspect.Signature | None = inspect.signature(function)
        except ValueError:  # some functions written in C do not tell
            self._signature = None

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload. Raises TypeError where the function does not take such arguments, or where
        the codec cannot carry one, whose name and place the message says."""
        bound = self._bind(args, kwargs)
        if self.raw:
            (payload,) = bound.values() if len(bound) == 1 else (None,)
            if not isinstance(payload, bytes | bytearray | memoryview):
                raise TypeError(f"{self._title}: a raw task takes one argument, bytes")
            return bytes(payload)
        for where, value in _called(bound, self._signature):
            if flaw := self.codec.flaw(value, where):
                raise TypeError(f"{self._title}: argument {flaw}")
        body: dict[str, Any] = {}
        if args:
            body["args"] = list(args)
        if kwargs:
            body["kwargs"] = dict(kwargs)
        return self.codec.encode(body) if body else b""

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if self._signature is None:
            return {f"args[{place}]": value for place, value in enumerate(args)} | dict(kwargs)
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(
                f"{self._title}: {error} (delay, priority and the like go into .options(...))"
            ) from None


def _called(
    bound: Mapping[str, Any], signature: inspect.Signature | None
) -> Iterator[tuple[str, Any]]:
    """The values by how the function calls them."""
    for name, value in bound.items():
        kind = None if signature is None else signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value
