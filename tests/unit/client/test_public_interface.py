"""`taskq/__init__.py` is the whole public interface; the blocking face has every method."""

from __future__ import annotations

import inspect

import taskq
from taskq import errors
from taskq.client import blocking
from taskq.client.handle import AsyncTaskHandle, TaskHandle
from taskq.client.worker_session import AsyncWorkerSession


def public(thing: type) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def test_all_names_are_there_and_sorted():
    assert sorted(taskq.__all__) == taskq.__all__
    assert all(hasattr(taskq, name) for name in taskq.__all__)


def test_every_error_is_public():
    kinds = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, Exception)
    }
    assert kinds <= set(taskq.__all__)


def test_every_public_thing_says_what_it_is():
    for name in taskq.__all__:
        thing = getattr(taskq, name)
        assert thing.__doc__, name
        for member in public(thing) if inspect.isclass(thing) else ():
            value = inspect.getattr_static(thing, member)
            if inspect.isfunction(value):
                assert value.__doc__, f"{name}.{member}"


def test_the_blocking_face_has_every_method_with_the_same_arguments():
    pairs = (
        (taskq.AsyncClient, taskq.Client, {"send", "channel", "pages"}),
        (AsyncWorkerSession, blocking.WorkerSession, {"pushed", "lowest_unanswered"}),
        (AsyncTaskHandle, TaskHandle, set()),
    )
    for core, face, inner in pairs:
        assert public(core) - inner == public(face) - {"worker_id"}, face
        for name in public(core) & public(face):
            ours, theirs = getattr(core, name), getattr(face, name)
            if callable(ours):
                expected = inspect.signature(ours).parameters
                assert list(inspect.signature(theirs).parameters) == list(expected), name


def test_the_asynchronous_face_has_attributes_the_blocking_one_shows():
    session = blocking.WorkerSession(AsyncWorkerSession(taskq.AsyncClient(), name="w"))
    assert session.worker_id == session.core.worker_id
    assert len(session.worker_id) == 16


def test_no_blocking_method_is_a_coroutine():
    for face in (taskq.Client, taskq.WorkerSession, taskq.TaskHandle):
        for name in public(face):
            assert not inspect.iscoroutinefunction(getattr(face, name)), name


def test_the_blocking_face_says_what_it_returns():
    for face in (taskq.Client, taskq.WorkerSession, taskq.TaskHandle):
        for name in public(face):
            if inspect.isfunction(method := inspect.getattr_static(face, name)):
                assert "Async" not in str(inspect.signature(method)), name
                assert "Async" not in method.__annotations__["return"], name
