"""Nothing that a client or a monitor can send makes `apply` or `ask` raise, in whatever state.

Every reply is legal on the wire, and two nodes, one of them restarted at any moment, stay alike.

Fields are drawn from the registry's kinds, so that a new message or field is covered by itself.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from taskq import commands
from taskq.errors import Refusal
from taskq.fields import Bytes, Int, Kind, ListOf, Maybe, Record, Text, kinds_of
from taskq.machine.entry import encode_entry
from taskq.machine.machine import HANDLERS, QUESTIONS, Machine
from taskq.machine.view import MemoryView
from taskq.protocol.codec import decode_answer, encode_reply, make_pack
from taskq.registry import MESSAGE_OF, Sort
from tests.unit.machine.whole import check_whole
from tests.unit.protocol.wire_values import legal

SIXTEEN = [bytes((number,)) * 16 for number in (1, 2, 3)]
U63 = (1 << 63) - 1


def meeting(kind: Kind, name: str) -> st.SearchStrategy[Any]:
    """Legal values, mostly from a few, so that commands are about the same things."""
    match kind:
        case Bytes(16, 16):
            return st.sampled_from(SIXTEEN)
        case Text() if kind.pattern is not None:
            return st.sampled_from(["q", "Q", "q" * 200])
        case Int() if name in ("token", "tokens", "claim_number", "lowest_unanswered"):
            return st.integers(max(kind.low, 0), 8) | st.sampled_from([kind.low, kind.high])
        case Int():
            few = [value for value in (0, 1, 1_000, 30_000) if kind.low <= value <= kind.high]
            return st.sampled_from([kind.low, kind.high, *few])
        case Maybe():
            return st.none() | meeting(kind.inner, name)
        case ListOf():
            most = min(kind.count_max, kind.count_min + 4)
            return st.lists(meeting(kind.inner, name), min_size=kind.count_min, max_size=most)
        case Record():
            return fields_of(kind.shape)
    return legal(kind)


def fields_of(shape: type) -> st.SearchStrategy[list[Any]]:
    return st.tuples(*(meeting(kind, name) for name, kind in kinds_of(shape).items())).map(list)


NAMES = [
    *("queue_depth_threshold", "queue_bytes_threshold", "max_lease_expiries", "max_batch_claim"),
    *("payload_size_max", "result_size_max", "retention_ms", "retention_size_max"),
    *("dead_retention_ms", "dead_size_max", "dedup_window_ms", "later"),
]
# The leader's own limits, which its configuration has checked; a lease has a place in replies.
configures = st.one_of(
    st.dictionaries(
        st.sampled_from(NAMES), st.sampled_from([0, 1, 1_000, 60_000, U63]), max_size=2
    ),
    st.sampled_from([{"lease_ms": 0}, {"lease_ms": 1_000}, {"lease_ms": 86_400_000}]),
).map(commands.Configure)


def command_of(shape: type) -> st.SearchStrategy[Any]:
    if shape is commands.Configure:
        return configures
    return fields_of(shape).map(MESSAGE_OF[shape].parse)


# What makes the state interesting comes up more often.
COMMON = [commands.SubmitTask, commands.ClaimTask, commands.TaskResult, commands.Advance]
any_command = st.sampled_from([*HANDLERS, *COMMON, *COMMON]).flatmap(command_of)
any_question = st.sampled_from(list(QUESTIONS)).flatmap(command_of)
entries = st.tuples(
    st.sampled_from([0, 0, 1, 1_000, 30_000, 10**10]),
    st.sampled_from([0, 0, 1, 1_000, 10**9]),
    st.lists(any_command, min_size=1, max_size=6),
    st.booleans(),
    st.none() | any_question,
)


def test_the_table_of_handlers_is_the_registry() -> None:
    logged = (Sort.COMMAND, Sort.INTERNAL)
    assert set(HANDLERS) == {row.shape for row in MESSAGE_OF.values() if row.sort in logged}
    assert set(QUESTIONS) == {row.shape for row in MESSAGE_OF.values() if row.sort is Sort.READ}


@settings(max_examples=40)
@given(st.lists(entries, max_size=25))
def test_any_command_in_any_state(
    script: list[tuple[int, int, list[Any], bool, Any]],
) -> None:
    views = [MemoryView(), MemoryView()]
    machines = [Machine(view) for view in views]
    elapsed = wall = 0
    for step, jump, many, restart, question in script:
        elapsed, wall = elapsed + step, wall + step + jump
        if restart:
            machines[1] = Machine(views[1])
        entry = encode_entry(elapsed, wall, many)
        replies = []
        for machine in machines:
            applied = machine.apply(entry)
            replies.append([machine.reply(result) for result in applied.results])
            machine.check()
        assert replies[0] == replies[1]
        assert views[0].values == views[1].values
        check_whole(views[0])
        for command, reply in zip(many, replies[0], strict=True):
            check_legal(command, reply)
        if question is not None:
            answers = [machine.ask(question) for machine in machines]
            assert answers[0] == answers[1]
            check_legal(question, answers[0])
        assert machines[0].next_due() == machines[1].next_due()
        assert machines[0].next_retention() == machines[1].next_retention()
    assert views[0].values == views[1].values


def check_legal(command: Any, reply: Any) -> None:
    """A reply is what the registry promises, so that a client can read it."""
    row = MESSAGE_OF[type(command)]
    if row.reply is None or isinstance(reply, Refusal):
        return
    assert type(reply) is row.reply
    data = encode_reply(make_pack(), row.code, 1, reply)
    decode_answer(data[4], data[5:])
