"""The registry: codes, roles and shapes fit together, and every field is checked."""

from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taskq.commands  # noqa: F401  # fills the registry
from taskq import registry
from taskq.fields import Int, Kind, MapOf, kinds_of
from taskq.protocol import unpack
from taskq.registry import MESSAGE_OF, MESSAGES, Message, Role, Sort, message
from taskq.results import BatchReply
from tests.unit.protocol.wire_values import extremes, illegal, legal_fields, sample

ROWS = list(MESSAGES.values())
FIELDS = [(row, name, kind) for row in ROWS for name, kind in row.kinds.items()]


def _name(value: object) -> str:
    return value.name if isinstance(value, Message) else value if isinstance(value, str) else ""


def test_rows_are_found_by_code_and_by_class() -> None:
    assert len(ROWS) >= 30
    for code, row in MESSAGES.items():
        assert row.code == code
        assert MESSAGE_OF[row.shape] is row
        assert row.name == row.shape.__name__


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_sort_role_and_reply_fit_together(row: Message) -> None:
    assert (row.reply is None) == (row.sort in (Sort.INTERNAL, Sort.PUSH))
    assert (row.member is not None) == (row.reply is BatchReply)
    assert (row.role is Role.ANYONE) == (row.sort in (Sort.SESSION, Sort.INTERNAL, Sort.PUSH))
    assert (row.shape.__doc__ or "").strip()
    for shape in (row.reply, row.member):
        assert shape is None or (shape.__doc__ or "").strip()


# A code is never reused and never changes: entries in logs and clients elsewhere depend on it.
CODES = {
    0x01: "Hello",
    0x02: "Ping",
    0x10: "SubmitTask",
    0x11: "SubmitTasks",
    0x12: "ClaimTask",
    0x13: "TaskResult",
    0x14: "TaskResults",
    0x15: "Ack",
    0x16: "Nack",
    0x17: "ExtendLease",
    0x18: "Heartbeat",
    0x19: "RegisterWorker",
    0x1A: "DeregisterWorker",
    0x1B: "CancelTask",
    0x20: "QueryStatus",
    0x21: "GetStats",
    0x22: "ListTasks",
    0x23: "ListWorkers",
    0x30: "ListQueues",
    0x31: "CreateQueue",
    0x32: "PauseQueue",
    0x33: "ResumeQueue",
    0x34: "PurgeQueue",
    0x35: "DeleteQueue",
    0x40: "ListDead",
    0x41: "RedriveDead",
    0x42: "DeleteDead",
    0x50: "GetCluster",
    0x51: "TransferLeadership",
    0x52: "AddMember",
    0x53: "RemoveMember",
    0x58: "BeginBackup",
    0x59: "ReadBackup",
    0x5A: "EndBackup",
    0x5C: "UpgradeCluster",
    0x60: "Advance",
    0x61: "Configure",
    0x62: "Retain",
    0x63: "SkipTokens",
    0x68: "RaiseLevel",
    0x70: "CancelRequested",
}


def test_codes_do_not_change() -> None:
    assert {code: MESSAGES[code].name for code in CODES} == CODES


@pytest.mark.parametrize(("row", "field", "kind"), FIELDS, ids=_name)
def test_each_field_takes_its_limits_and_names_itself_beyond_them(
    row: Message, field: str, kind: Kind
) -> None:
    position = list(row.kinds).index(field)
    fields = [sample(each) for each in row.kinds.values()]
    for value in extremes(kind):
        fields[position] = value
        assert getattr(row.parse(list(fields)), field) == value
    for value in illegal(kind):
        fields[position] = value
        with pytest.raises(ValueError, match="got") as caught:
            row.parse(list(fields))
        assert str(caught.value).startswith(field), (value, str(caught.value))
        assert len(str(caught.value)) < 600
        assert not row.check(fields)


@pytest.mark.parametrize("row", ROWS, ids=_name)
@settings(max_examples=25)
@given(data=st.data())
def test_any_legal_fields_make_the_command_they_say(row: Message, data: st.DataObject) -> None:
    fields = data.draw(legal_fields(row.shape))
    command = row.parse(fields)
    assert type(command) is row.shape
    assert command == row.shape(*fields)
    assert row.check(fields)


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_the_number_of_fields_is_checked(row: Message) -> None:
    fields = [sample(kind) for kind in row.kinds.values()]
    for wrong in ([*fields, None], None, {}, "text", b"bytes", 7, tuple(fields)):
        with pytest.raises(ValueError, match=f"{row.name}: expected"):
            row.parse(wrong)
    required = len(fields) - len(row.shape._field_defaults)  # type: ignore[attr-defined]
    if required:
        with pytest.raises(ValueError, match=f"{row.name}: expected {required}"):
            row.parse(fields[: required - 1])


def test_every_array_and_map_that_is_legal_is_unpacked() -> None:
    shapes = [shape for row in ROWS for shape in (row.shape, row.reply) if shape is not None]
    longest = {shape.__name__: unpack.array_count_max(shape) for shape in shapes}
    assert max(longest.values()) == unpack.ARRAY_COUNT_MAX == longest["Heartbeat"]
    assert longest["Hello"] == longest["SubmitTask"] == unpack.ARRAY_COUNT_LEAST
    assert longest["SubmitTasks"] == longest["TaskPage"] == unpack.LARGE_ARRAY_COUNT_MAX
    assert longest["ClaimTask"] == 200
    for shape in shapes:
        assert 2 * len(shape._fields) <= unpack.ARRAY_COUNT_LEAST  # type: ignore[attr-defined]
        for kind in kinds_of(shape).values():
            assert not isinstance(kind, MapOf) or 2 * kind.count_max <= unpack.MAP_COUNT_MAX


def test_a_code_is_taken_once_and_lies_below_the_reply_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MESSAGES", dict(MESSAGES))
    monkeypatch.setattr(registry, "MESSAGE_OF", dict(MESSAGE_OF))

    class Fresh(NamedTuple):
        number: Annotated[int, Int(0, 1)]

    enter: Any = message(0x7E, Sort.COMMAND)
    assert enter(Fresh) is Fresh
    for code in (0x7E, 0, 0x7F, 0x80, -1):
        with pytest.raises(AssertionError):
            message(code, Sort.COMMAND)(Fresh)
