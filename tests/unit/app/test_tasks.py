"""Functions become tasks; what is submitted is what the call and the options say."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgpack
import pytest

import taskq
from taskq import App, InvalidRequest, TaskSpec, raw
from taskq.app.task import Settings, Submission
from taskq.worker.function import run
from taskq.worker.workload import TaskSource, Workload


def function(a: int, b: int = 2, *rest: int, flag: bool = False, **others: Any) -> list[Any]:
    """Says what it was given."""
    return [a, b, list(rest), flag, others]


@pytest.fixture
def app() -> App:
    return App(queue="main")


def test_a_task_is_called_like_its_function(app: App) -> None:
    task = app.task(function)
    assert task(1, 3, 4, flag=True, x=5) == [1, 3, [4], True, {"x": 5}]
    assert task.__doc__ == "Says what it was given."
    assert inspect.signature(task) == inspect.signature(function)
    assert (task.name, task.queue) == (f"{__name__}.function", "main")


def test_arguments_reach_the_function_as_they_were_given(app: App) -> None:
    for codec in ("json", "msgpack"):
        task = app.task(codec=codec, name=codec)(function)
        spec = task.spec(1, 3, 4, flag=True, x=(5, 6))
        ended = run(function, spec.payload, spec.headers or {})
        decode = json.loads if codec == "json" else msgpack.unpackb
        assert decode(ended.result or b"") == [1, 3, [4], True, {"x": [5, 6]}]


def test_what_is_left_out_takes_no_bytes(app: App) -> None:
    def nothing() -> None:
        """Takes nothing."""

    assert app.task(name="f")(nothing).spec() == TaskSpec(queue="main", name="f", headers={})


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1,), {"a": 2}, "multiple values for argument 'a'"),
        (({1},), {}, "argument a is a set, which json cannot carry"),
        ((1, 2, 3, {"k": [b"x"]}), {}, "argument rest[1]['k'][0] is bytes"),
        ((1,), {"other": object()}, "argument other is a object"),
        ((1,), {"flag": float("nan")}, "argument flag is nan"),
    ],
)
def test_what_cannot_be_carried_is_named_before_it_is_sent(
    app: App, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    task = app.task(name="f")(function)
    for submit in (task.spec, task.submit, task.options(delay=1).submit):
        with pytest.raises(TypeError) as caught:
            submit(*args, **kwargs)
        assert str(caught.value).startswith("f: ")
        assert text in str(caught.value)


def test_unknown_argument_says_where_options_go(app: App) -> None:
    def one(a: int) -> None:
        """Takes one."""

    with pytest.raises(TypeError, match=r"unexpected keyword argument 'delay' .*\.options"):
        app.task(one).submit(1, delay=5)  # type: ignore[call-arg]


def test_an_argument_may_have_the_name_of_an_option(app: App) -> None:
    def waits(delay: int, queue: str) -> None:
        """Takes what options are called."""

    spec = app.task(waits).options(delay=60).spec(delay=5, queue="x")
    assert json.loads(spec.payload) == {"kwargs": {"delay": 5, "queue": "x"}}
    assert (spec.delay, spec.queue) == (60, "main")


def test_options_go_where_they_belong(app: App) -> None:
    task_id = UUID(int=5)
    when = datetime(2030, 1, 1, tzinfo=UTC)
    task = app.task(name="f", queue="q", priority="low", max_retries=7, timeout=60)(function)
    assert task.spec(1).queue == "q"
    spec = task.options(
        priority="high",
        at=when,
        ttl=timedelta(hours=1),
        backoff=2,
        backoff_max=20,
        headers={"traceparent": "00"},
        keep_result=False,
        task_id=task_id,
    ).spec(1)
    assert spec == TaskSpec(
        queue="q",
        payload=b'{"args":[1]}',
        name="f",
        priority="high",
        run_at=when,
        ttl=timedelta(hours=1),
        run_timeout=60,
        max_retries=7,
        backoff=2,
        backoff_max=20,
        headers={"traceparent": "00"},
        keep_result=False,
        task_id=task_id,
    )


def test_options_add_up_and_none_takes_back(app: App) -> None:
    task = app.task(name="f", timeout=60)(function)
    many = task.options(delay=5).options(priority="high")
    assert (many.spec(1).delay, many.spec(1).priority) == (5, "high")
    assert many.options(delay=None, timeout=None).spec(1).run_timeout is None
    assert task.spec(1).delay is None  # the task itself stays as it was


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"at": datetime(2030, 1, 1)}, ValueError, "at: .* has no time zone"),  # noqa: DTZ001
        ({"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 1}, ValueError, "delay, at: give one"),
        ({"priority": "urgent"}, ValueError, "priority: 0..255 or one of"),
        ({"delay": -1}, ValueError, "delay: must be"),
        ({"timeout": "60"}, TypeError, "timeout: seconds or a timedelta"),
        ({"queue": "a b"}, InvalidRequest, "queue"),
        ({"max_retries": -1}, InvalidRequest, "max_retries"),
        ({"task_id": "x"}, ValueError, "task id"),
        ({"headers": {"content-type": "x"}}, ValueError, "content-type is the codec's"),
    ],
)
def test_a_wrong_option_fails_at_once(
    app: App, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    task = app.task(name="f")(function)
    with pytest.raises(error, match=text):
        task.options(**options)


def test_a_wrong_default_fails_where_the_task_is_made(app: App) -> None:
    with pytest.raises(ValueError, match="f: priority"):
        app.task(name="f", priority="urgent")(function)
    with pytest.raises(ValueError, match="codec: one of json, msgpack, not 'pickle'"):
        app.task(codec="pickle")
    with pytest.raises(ValueError, match="codec"):
        App(codec="yaml")
    with pytest.raises(TypeError, match="made of a function"):
        app.task(app.task(name="f")(function))
    assert list(app.tasks) == ["f"]


def test_two_tasks_of_one_name_are_refused(app: App) -> None:
    app.task(function)
    with pytest.raises(ValueError, match="already"):
        app.task(function)


def test_raw_tasks_take_and_give_bytes(app: App) -> None:
    reverse = app.task(raw=True, name="one")(lambda data: data[::-1])
    spec = reverse.spec(b"\xff\0")
    assert (spec.payload, spec.headers) == (b"\xff\0", {"content-type": "application/octet-stream"})
    assert run(reverse.function, spec.payload, spec.headers or {}).result == b"\0\xff"
    marked = app.task(name="two")(raw(lambda data: data))
    assert marked.spec(bytearray(b"x")).payload == b"x"
    for wrong in ("text", None):
        with pytest.raises(TypeError, match="takes one argument, bytes"):
            reverse.spec(wrong)


def test_options_are_the_settings_and_both_faces_have_them() -> None:
    names = [field.name for field in fields(Settings)]
    assert set(inspect.signature(Submission.options).parameters) == {"self", *names}


def test_a_worker_finds_functions_and_queues(app: App) -> None:
    app.task(name="a", queue="one")(function)
    app.task(name="b")(function)
    app.task(name="c", queue="one")(function)
    assert isinstance(app, TaskSource)
    workload = Workload(app, "x:app")
    assert workload.queues == ["one", "main"]
    assert workload.names == ["a", "b", "c"]
    found = workload.find("a")
    assert found is not None
    assert found.function is function
    assert workload.find("d") is None
    assert not workload.all_async


def test_an_app_without_tasks_is_no_work() -> None:
    with pytest.raises(taskq.WorkerError, match="x:app has no tasks"):
        Workload(App(), "x:app")


def test_modules_with_tasks_are_included_by_the_worker(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "included_tasks.py").write_text(
        "from including import app\n@app.task\ndef late(): pass\n"
    )
    (tmp_path / "including.py").write_text(
        "import taskq\napp = taskq.App(include=['included_tasks'])\n"
    )
    import including  # type: ignore[import-not-found]

    assert Workload(including.app, "x").names == ["included_tasks.late"]
    broken = App(include=["no_such_module_xyz"])
    with pytest.raises(taskq.WorkerError, match="Cannot include no_such_module_xyz"):
        Workload(broken, "x")


def test_an_app_connects_to_nothing_by_itself() -> None:
    app = App("taskq://127.0.0.1:1")
    app.task(function)
    app.close()
    app.close()
