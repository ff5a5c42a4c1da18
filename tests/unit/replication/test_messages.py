"""A4: every shape comes back as it was; what no node sends is refused and nothing else happens."""

from __future__ import annotations

import pickle  # noqa: TID251  # sent, to show that nothing unpickles it
from typing import Any, get_type_hints

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.messages import (
    KINDS,
    Ack,
    Append,
    Heartbeat,
    Message,
    Vote,
    decode,
    encode,
)

REFUSED = "not a message|fields instead of|with the field|no entry|malformed entry"
NUMBERS = st.integers(0, 2**63 - 1)
ENTRIES = st.lists(st.tuples(NUMBERS, st.binary(max_size=50)), max_size=5)


def field_of(kind: Any) -> st.SearchStrategy[Any]:
    """What may stand in a field of that type."""
    if kind is int:
        return NUMBERS
    return st.booleans() if kind is bool else ENTRIES


def shapes() -> st.SearchStrategy[Message]:
    """Any message."""
    made = []
    for shape in KINDS.values():
        fields = [field_of(one) for one in get_type_hints(shape).values()]
        made.append(st.tuples(*fields).map(lambda values, shape=shape: shape(*values)))
    return st.one_of(made)


def same(message: Message) -> tuple[type, list[Any]]:
    """Type and fields, lists and tuples alike."""
    fields = [[tuple(e) for e in one] if isinstance(one, list) else one for one in message]
    return type(message), fields


@given(shapes())
def test_every_shape_comes_back_as_it_was(message: Message) -> None:
    data = encode(message)
    assert same(decode(data)) == same(message)
    assert same(decode(memoryview(data))) == same(message)


def test_every_message_tells_term_and_flag_first() -> None:
    for shape in KINDS.values():
        assert shape._fields[:2] == ("term", "loss")


def test_numbers_on_the_wire_stay() -> None:
    names = [(number, shape.__name__) for number, shape in sorted(KINDS.items())]
    assert names == [
        *((1, "Append"), (2, "Ack"), (3, "Reject"), (4, "Heartbeat"), (5, "HeartbeatReply")),
        *((6, "PreVote"), (7, "PreVoteReply"), (8, "Vote"), (9, "VoteReply")),
        *((10, "TimeoutNow"), (11, "Newer"), (12, "Diverged"), (13, "Resigned")),
    ]


@given(st.binary(max_size=200))
def test_random_bytes_raise_value_error_or_are_a_message(data: bytes) -> None:
    try:
        message = decode(data)
    except ValueError:
        return
    assert same(decode(encode(message))) == same(message)


@given(shapes(), st.data())
def test_a_message_cut_or_with_bytes_behind_is_refused(message: Message, data: Any) -> None:
    whole = encode(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=REFUSED):
        decode(whole[:cut])
    with pytest.raises(ValueError, match=REFUSED):
        decode(whole + b"\0")


VOTE = [8, *Vote(1, 0, 1, 0)]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([], id="nothing"),
        pytest.param({}, id="a map"),
        pytest.param(8, id="a number"),
        pytest.param("vote", id="text"),
        pytest.param([0, 1, 0], id="kind 0"),
        pytest.param([99, 1, 0], id="an unknown kind"),
        pytest.param([-8, *VOTE[1:]], id="a negative kind"),
        pytest.param([8.0, *VOTE[1:]], id="a kind that is no integer"),
        pytest.param([True, 1, 0, 1, 1, 1, 1, []], id="true as the kind 1"),
        pytest.param([None, 1, 0], id="no kind"),
        pytest.param([[8], 1, 0], id="a list as the kind"),
        pytest.param(VOTE[:-1], id="a field less"),
        pytest.param([*VOTE, 0], id="a field more"),
        pytest.param([8, -1, 0, 1, 0], id="a negative term"),
        pytest.param([8, 2**63, 0, 1, 0], id="a term beyond 63 bits"),
        pytest.param([8, 1.0, 0, 1, 0], id="a float"),
        pytest.param([8, True, 0, 1, 0], id="true as a number"),
        pytest.param([8, "1", 0, 1, 0], id="text as a number"),
        pytest.param([8, None, 0, 1, 0], id="null"),
        pytest.param([9, 1, 0, 1, False], id="1 as true"),
        pytest.param([1, 1, 0, 1, 1, 1, 1, {}], id="a map of entries"),
        pytest.param([1, 1, 0, 1, 1, 1, 1, [1]], id="an entry that is a number"),
        pytest.param([1, 1, 0, 1, 1, 1, 1, [[1]]], id="an entry without command"),
        pytest.param([1, 1, 0, 1, 1, 1, 1, [[1, b"", 0]]], id="an entry with more"),
        pytest.param([1, 1, 0, 1, 1, 1, 1, [[1, "text"]]], id="a command that is text"),
        pytest.param([1, 1, 0, 1, 1, 1, 1, [[-1, b""]]], id="an entry of a negative term"),
        pytest.param([1, 1, 0, 1, 1, 1, 1, [[True, b""]]], id="an entry of term true"),
    ],
)
def test_what_no_node_sends_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=REFUSED):
        decode(msgpack.packb(value))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ValueError, match=REFUSED):
        decode(b"\x91" * 100_000)
    with pytest.raises(ValueError, match=REFUSED):
        decode(b"\xdd\xff\xff\xff\xff")


class Bomb:
    """Does something when unpickled."""

    opened = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Bomb, "opened", True))


def test_nothing_unpickles() -> None:
    data = pickle.dumps(Bomb())
    for hostile in (data, msgpack.packb(data), msgpack.packb([1, 1, 0, 1, 1, 1, 1, [[1, data]]])):
        try:
            decode(hostile)
        except ValueError:
            continue
    assert not Bomb.opened
    pickle.loads(data)  # the bomb works
    assert Bomb.opened


def test_a_large_append_is_taken_whole() -> None:
    append = Append(1, 0, 1, 0, 1, 7, [(1, bytes(16 * 2**20))])
    assert same(decode(encode(append))) == same(append)
    assert decode(encode(Ack(1, 0, 2, 3))) == Ack(1, 0, 2, 3)
    assert decode(encode(Heartbeat(*range(8)))) == Heartbeat(*range(8))
