"""Refusals become exceptions by their code, and the tree printed in the module is the real one."""

import copyreg
import re

import pytest

from taskq import errors
from taskq.errors import MEANINGS, RETRYABLE, ErrorCode, Refusal, as_exception, refuse
from taskq.fields import compile_check

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
}

EXPECTED = {
    ErrorCode.INVALID_REQUEST: errors.InvalidRequest,
    ErrorCode.UNSUPPORTED_VERSION: errors.InvalidRequest,
    ErrorCode.UNKNOWN_MESSAGE: errors.InvalidRequest,
    ErrorCode.PAYLOAD_TOO_LARGE: errors.InvalidRequest,
    ErrorCode.RESULT_TOO_LARGE: errors.InvalidRequest,
    ErrorCode.NOT_FOUND: errors.NotFound,
    ErrorCode.STALE_TOKEN: errors.StaleToken,
    ErrorCode.QUEUE_FULL: errors.QueueFull,
    ErrorCode.DISK_FULL: errors.QueueFull,
    ErrorCode.UNAUTHENTICATED: errors.PermissionDenied,
    ErrorCode.PERMISSION_DENIED: errors.PermissionDenied,
    ErrorCode.TOO_MANY_REQUESTS: errors.Unavailable,
    ErrorCode.TOO_MANY_CONNECTIONS: errors.Unavailable,
    ErrorCode.NO_LEADER: errors.Unavailable,
    ErrorCode.UNAVAILABLE: errors.Unavailable,
    ErrorCode.DEADLINE_EXCEEDED: errors.Unavailable,
    ErrorCode.ALREADY_EXISTS: errors.RequestRefused,
    ErrorCode.WRONG_STATE: errors.RequestRefused,
    ErrorCode.TOO_MANY_QUEUES: errors.RequestRefused,
    ErrorCode.TOO_MANY_WORKERS: errors.RequestRefused,
    ErrorCode.TOO_MANY_CLAIMS: errors.RequestRefused,
}


@pytest.mark.parametrize("code", ErrorCode)
def test_a_refusal_becomes_the_exception_of_its_code(code: ErrorCode) -> None:
    error = as_exception(refuse(code, "why", 1500))
    assert type(error) is EXPECTED[code]
    assert isinstance(error, errors.RequestRefused)
    assert (error.code, error.message, error.retry_after) == (code.value, "why", 1.5)
    assert str(error) == f"why [{code.value}]"


def test_a_code_of_a_newer_node_is_still_a_refusal() -> None:
    error = as_exception(Refusal("BRAND_NEW", "why"))
    assert type(error) is errors.RequestRefused
    assert error.code == "BRAND_NEW"


@pytest.mark.parametrize("code", [ErrorCode.UNAVAILABLE, ErrorCode.QUEUE_FULL])
def test_unknown_wins_over_the_code(code: ErrorCode) -> None:
    error = as_exception(Refusal(code, "lost the leader", 10, unknown=True))
    assert type(error) is errors.OutcomeUnknown


def test_words_on_the_wire_are_the_names_and_each_has_a_meaning() -> None:
    assert all(code.value == code.name for code in ErrorCode)
    assert set(MEANINGS) == set(ErrorCode)
    assert len(set(MEANINGS.values())) == len(MEANINGS)
    assert set(ErrorCode) > RETRYABLE


def test_what_refuse_makes_is_legal_on_the_wire() -> None:
    check = compile_check(Refusal)
    for code in ErrorCode:
        assert check(list(refuse(code, "why", 100)))
        assert type(refuse(code, "why").code) is str
    assert not check(["QUEUE_FULL", "why", -1])
    assert not check(["QUEUE_FULL", "why", 0, 1])
    assert not check([b"QUEUE_FULL", "why"])


@pytest.mark.parametrize(
    "error",
    [
        errors.QueueFull("QUEUE_FULL", "full", 0.5),
        errors.TaskFailed("0190-id", "Traceback"),
        errors.OutcomeUnknown("perhaps"),
    ],
)
def test_exceptions_survive_a_copy_as_process_pools_make_it(error: Exception) -> None:
    maker, arguments = error.__reduce__()[:2]
    assert maker is not copyreg.__newobj__  # type: ignore[attr-defined]
    copy = maker(*arguments)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_the_printed_tree_is_the_real_one() -> None:
    printed: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ((?:\||\+|-| )*)([A-Z]\w+)(?:  |$)", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            printed[found[2]] = path[depth - 1] if depth else "Exception"
    assert printed == {name: kind.__mro__[1].__name__ for name, kind in CLASSES.items()}
