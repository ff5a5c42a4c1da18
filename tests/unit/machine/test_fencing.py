"""An outcome under a token that is not valid changes nothing: not one byte but the clocks."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import commands
from taskq.errors import ErrorCode, Refusal
from taskq.machine import keys
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Machine
from taskq.machine.view import MemoryView
from tests.unit.machine.script import Script, id_of

TASK = id_of("a")
VERBS: list[Any] = [
    lambda token: commands.TaskResult(TASK, token, True, b"result"),
    lambda token: commands.TaskResult(TASK, token, False, None, "error", True),
    lambda token: commands.TaskResult(TASK, token, False, None, "error", False),
    lambda token: commands.TaskResults([[TASK, token, True], [TASK, token, False]]),
    lambda token: commands.Ack(TASK, token),
    lambda token: commands.Nack(TASK, token),
    lambda token: commands.Nack(TASK, token, 5_000),
    lambda token: commands.Nack(TASK, token, 5_000, True),
    lambda token: commands.ExtendLease(TASK, token, 3_600_000),
]
# What has become of the task since the lease under token 1 expired.
SINCE = [
    [],
    ["claim v #1 q"],
    ["claim v #1 q", "complete a token=2"],
    ["claim v #1 q", "fail a token=2"],
    ["claim v #1 q", "fail a token=2 retry=no"],
    ["claim v #1 q", "fail a token=2 retry=no", "redrive a"],
    ["claim v #1 q", "release a token=2 delay=1m"],
    ["cancel a"],
    ["claim v #1 q", "cancel a"],
    ["claim v #1 q", "cancel a force"],
    ["tick 1h", "heartbeat w", "advance"],
]


@pytest.mark.parametrize("since", SINCE, ids=" ".join)
@pytest.mark.parametrize("verb", VERBS)
def test_an_older_token_changes_nothing(verb: Any, since: list[str]) -> None:
    script = Script()
    script.run(["submit q id=a ttl=1h payload=x", "claim w #1 q", "tick 30s"])
    script.run(["heartbeat w", "advance"])
    for line in since:
        script.run([line])
    for token in (1, 0, 3, 99):
        before = dict(script.view.values)
        entry = encode_entry(script.elapsed, script.wall, [verb(token)])
        (result,) = script.machine.apply(entry).results
        codes = (
            [result.code] if isinstance(result, Refusal) else [a.code for _, a in result.answers]
        )
        assert set(codes) == {ErrorCode.STALE_TOKEN.value}
        assert script.view.values == before


@pytest.mark.parametrize("outcome", VERBS[:7])
def test_a_repeated_outcome_is_answered_alike_and_changes_nothing(outcome: Any) -> None:
    script = Script()
    script.run(["submit q id=a ttl=1h payload=x", "claim w #1 q"])
    entry = encode_entry(script.elapsed, script.wall, [outcome(1)])
    (first,) = script.machine.apply(entry).results
    # What follows may change the task, but not the answer.
    for line in ("advance", "cancel a", "redrive a", "tick 2h", "advance"):
        before = dict(script.view.values)
        entry = encode_entry(script.elapsed, script.wall, [outcome(1)])
        assert script.machine.apply(entry).results == [first]
        assert {**script.view.values, keys.CLOCKS: b""} == {**before, keys.CLOCKS: b""}
        script.run([line])


def test_every_repeat_of_a_command_that_clients_repeat_is_safe() -> None:
    """One entry twice over, and entries twice each: the same state but for counts of contact."""
    lines = [
        *["submit q id=a", "submit q id=b delay=1h", "claim w #1 q", "heartbeat w tokens=1"],
        *["complete a token=1 result=x", "cancel b", "submit q id=c", "claim w #2 q"],
        *["fail c token=2 retry=no", "deregister w"],
    ]
    once, twice = Script(), Script()
    for line in lines:
        once.run([line])
        twice.run([line])
        twice.run([line])
    assert once.view.values == twice.view.values


def test_tokens_grow_over_restarts_and_removals() -> None:
    view, tokens = MemoryView(), []
    for number in range(1, 20):
        machine = Machine(view)
        task = commands.SubmitTask(bytes([number]) * 16, "q")
        claim = commands.ClaimTask(b"w" * 16, number, number, ["q"])
        applied = machine.apply(encode_entry(number, number, [task, claim]))
        (claimed,) = machine.reply(applied.results[1]).tasks
        tokens.append(claimed.token)
        settings = {"retention_ms": 0, "dedup_window_ms": 0}
        machine.apply(
            encode_entry(
                number,
                number,
                [
                    commands.Ack(task.id or b"", claimed.token),
                    commands.Configure(settings),
                    commands.Retain(),
                ],
            )
        )
    assert tokens == sorted(set(tokens))
    assert not view.scan(keys.TASK, None, 10)
