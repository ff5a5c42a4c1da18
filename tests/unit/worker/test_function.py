"""The payload convention, and what becomes of what a function returns or raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskq
from taskq.limits import ERROR_SIZE_MAX
from taskq.worker import function as module
from taskq.worker.function import (
    Ended,
    PayloadError,
    arguments,
    describe,
    is_coroutine,
    raw,
    run,
)


def both(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=3), st.dictionaries(st.text(), json_values, max_size=3))
def test_arguments_travel_as_json(args: list[Any], kwargs: dict[str, Any]) -> None:
    payload = json.dumps({"args": args, "kwargs": kwargs}).encode()
    ended = run(both, payload, {"content-type": "application/json"})
    assert json.loads(ended.result or b"") == [args, kwargs]


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"args": []}', b'{"kwargs": {}}'])
def test_what_is_missing_is_empty(payload: bytes) -> None:
    assert arguments(both, payload, {}) == ([], {})


@pytest.mark.parametrize(
    ("payload", "headers", "text"),
    [
        (b"not json", {}, "not JSON"),
        (b"\xff\xfe", {}, "not JSON"),
        (b"[1]", {}, 'must be {"args"'),
        (b'{"arguments": [1]}', {}, 'must be {"args"'),
        (b'{"args": {"a": 1}}', {}, '"args" must be a list'),
        (b'{"kwargs": [1]}', {}, '"kwargs" an object'),
        (b"{}", {"content-type": "text/plain"}, "The payload is text/plain"),
    ],
)
def test_payload_outside_the_convention_is_not_retried(
    payload: bytes, headers: dict[str, str], text: str
) -> None:
    with pytest.raises(PayloadError, match=text):
        arguments(both, payload, headers)
    ended = run(both, payload, headers)
    assert (ended.ok, ended.retry) == (False, False)
    assert text in ended.error


def test_content_type_may_carry_parameters() -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert arguments(both, b'{"args": [1]}', headers) == ([1], {})


@pytest.mark.parametrize("value", [{1}, object(), float("nan"), "\ud800"])
def test_result_that_is_no_json_is_not_retried(value: Any) -> None:
    ended = run(lambda: value, b"", {})
    assert (ended.ok, ended.retry) == (False, False)
    assert "cannot be written as JSON" in ended.error


def test_no_result_is_null() -> None:
    assert run(lambda: None, b"", {}) == Ended(True, b"null")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"x", Ended(True, b"x")),
        (bytearray(b"x"), Ended(True, b"x")),
        (memoryview(b"x"), Ended(True, b"x")),
        (None, Ended(True, None)),
        ("x", Ended(False, None, "A raw function must return bytes or None, not str.")),
    ],
)
def test_raw_function_gets_the_payload_untouched(value: Any, expected: Ended) -> None:
    got = []

    @raw
    def function(payload: bytes) -> Any:
        got.append(payload)
        return value

    assert run(function, b"\xff{", {"content-type": "image/png"}) == expected
    assert got == [b"\xff{"]


def test_result_too_large_for_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESULT_SIZE_MAX", 10)
    ended = run(lambda: "x" * 9, b"", {})
    assert (ended.ok, ended.retry) == (False, False)
    assert "11 bytes" in ended.error
    assert run(lambda: "x" * 8, b"", {}).ok


def test_wrong_arguments_show_as_the_type_error() -> None:
    def one(a: int) -> int:
        return a

    ended = run(one, b'{"args": [1, 2]}', {})
    assert "TypeError" in ended.error
    assert "takes 1 positional argument but 2 were given" in ended.error


def test_a_function_can_say_that_no_retry_helps() -> None:
    class Refused(taskq.NoRetry):
        pass

    def refuse() -> None:
        raise Refused("no such card")

    ended = run(refuse, b"", {})
    assert (ended.ok, ended.retry) == (False, False)
    assert ended.error.endswith("Refused: no such card")


def test_long_error_keeps_its_end() -> None:
    error = describe(ValueError("x" * (2 * ERROR_SIZE_MAX) + " the end"))
    assert len(error.encode()) <= ERROR_SIZE_MAX
    assert error.startswith("[...]\n")
    assert error.endswith(" the end")


def test_error_whose_text_raises_is_still_told() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def function() -> None:
        raise BrokenError

    ended = run(function, b"", {})
    assert not ended.ok
    assert "BrokenError" in ended.error


def test_keyboard_interrupt_is_not_swallowed() -> None:
    def function() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(function, b"", {})


def test_coroutine_functions_are_seen() -> None:
    class Callable:
        async def __call__(self) -> None:
            """Called like a function."""

    async def function() -> None:
        """Awaited."""

    assert is_coroutine(function)
    assert is_coroutine(Callable())
    assert not is_coroutine(json.dumps)
