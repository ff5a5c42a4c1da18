from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from taskq import limits
from taskq.client.asynchronous import AsyncClient
from taskq.client.submission import TaskSpec, as_command, in_frames, submit_command
from taskq.commands import SubmitTask
from taskq.errors import InvalidRequest
from taskq.registry import MESSAGE_OF

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_the_defaults_are_those_of_the_protocol():
    command = submit_command("q")
    assert command == SubmitTask(command.id, "q")
    assert UUID(bytes=command.id).version == 7
    assert submit_command("q").id != command.id


def test_every_field():
    command = submit_command(
        "mails",
        bytearray(b"x"),
        name="send",
        priority="high",
        delay=1.5,
        ttl=timedelta(minutes=1),
        run_timeout=10,
        max_retries=0,
        backoff=0.5,
        backoff_max=timedelta(hours=2),
        headers={"traceparent": "00"},
        keep_result=False,
        task_id=ID,
    )
    assert command == SubmitTask(
        ID.bytes,
        "mails",
        "send",
        b"x",
        255,
        1_500,
        None,
        60_000,
        10_000,
        0,
        500,
        7_200_000,
        {"traceparent": "00"},
        False,
    )
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert submit_command("q", run_at=at).run_at_wall_ms == 1_893_456_000_000


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"delay": 1, "run_at": datetime(2030, 1, 1, tzinfo=UTC)}, ValueError, "give one of them"),
        ({"payload": "text"}, TypeError, "payload: bytes, not str; encode it first"),
        ({"payload": {"a": 1}}, TypeError, "payload: bytes, not dict"),
        ({"priority": "urgent"}, ValueError, "priority: 0..255 or one of high, normal, low"),
        ({"priority": True}, ValueError, "priority"),
        ({"priority": 256}, InvalidRequest, "priority: got 256"),
        ({"queue": "no way"}, InvalidRequest, "queue: got 'no way'"),
        ({"queue": 5}, InvalidRequest, "queue: got 5"),
        ({"ttl": 0}, InvalidRequest, "ttl_ms: got 0"),
        ({"max_retries": 1_001}, InvalidRequest, "max_retries: got 1001"),
        ({"headers": {"a": 1}}, InvalidRequest, "headers"),
        ({"name": "x" * 201}, InvalidRequest, "name: got"),
        ({"backoff": "1"}, TypeError, "backoff: seconds or a timedelta"),
    ],
)
def test_mistakes_are_named(arguments, error, words):
    with pytest.raises(error) as caught:
        submit_command(**{"queue": "q", **arguments})
    assert words in str(caught.value)


def test_a_spec_has_the_arguments_of_submit():
    spec = inspect.signature(TaskSpec).parameters
    for function in (AsyncClient.submit, submit_command):
        parameters = dict(inspect.signature(function).parameters)
        for name, parameter in spec.items():
            assert parameters[name].default == parameter.default, name
            assert parameters[name].annotation == parameter.annotation, name
        assert set(parameters) - set(spec) <= {"self", "timeout", "retry_full"}


def test_one_bad_task_does_not_spoil_the_others():
    made = [as_command(s) for s in ({"queue": "q"}, {"queue": "?"}, {}, TaskSpec(queue="q"))]
    assert [type(m) for m in made] == [SubmitTask, InvalidRequest, InvalidRequest, SubmitTask]
    assert "queue" in str(made[2])


def test_frames_are_bounded_in_count_and_size_and_keep_the_order():
    small = [submit_command("q") for _ in range(2_500)]
    assert [len(frame) for frame in in_frames(small)] == [1_000, 1_000, 500]
    large = [submit_command("q", bytes(1 << 20)) for _ in range(9)]
    frames = in_frames(large)
    assert [len(frame) for frame in frames] == [3, 3, 3]
    assert [command for frame in frames for command in frame] == large
    huge = submit_command("q", bytes(limits.ENTRY_SIZE_MAX * 2))
    assert [len(frame) for frame in in_frames([small[0], huge, small[1]])] == [1, 1, 1]
    assert in_frames([]) == []


def test_headers_count_towards_the_size():
    many = [
        submit_command("q", headers={f"{n}": "x" * 1_000 for n in range(30)}) for _ in range(300)
    ]
    assert len(in_frames(many)) == 3


def test_a_command_is_legal_on_the_wire():
    assert MESSAGE_OF[SubmitTask].check(list(submit_command("q", b"x", delay=1)))
