"""The set of members: its bytes, and how a node follows it through its log (A10)."""

from __future__ import annotations

import msgpack
import pytest

from cluster.replication.roster import Roster
from cluster.replication.voters import (
    MEMBERS,
    Voter,
    Voters,
    decode_entry,
    decode_record,
    encode_entry,
    encode_record,
    founders,
)

SET = {"n1": Voter("10.0.0.1:6380"), "n2": Voter("[::1]:6380", 77)}


def entry(*ids: str) -> bytes:
    return encode_entry({one: Voter(f"{one}:1") for one in ids})


def test_entries_and_records_come_back_as_they_were() -> None:
    assert decode_entry(encode_entry(SET)) == SET
    assert decode_record(encode_record(Voters(9, SET))) == Voters(9, SET)
    assert encode_entry(SET) == encode_entry(dict(reversed(SET.items()))), "order is the ids'"


@pytest.mark.parametrize(
    "body",
    [
        [],
        [2, [["n1", "", 0]]],
        [1, []],
        [1, [["n1", "", 0], ["n1", "", 0]]],
        [1, [["n2", "", 0], ["n1", "", 0]]],
        [1, [["n1", ""]]],
        [1, [["", "", 0]]],
        [1, [["n1", "x" * 301, 0]]],
        [1, [["n1", "", -1]]],
        [1, [["n1", "", True]]],
        [1, [["n1", "", 0]], 3],
        "n1",
    ],
)
def test_anything_else_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match="member"):
        decode_entry(MEMBERS + msgpack.packb(body))


def test_a_newer_format_is_named() -> None:
    with pytest.raises(ValueError, match="format 2; this version reads 1"):
        decode_record(msgpack.packb([2, 5, []]))


def test_the_newest_set_of_the_log_counts_committed_or_not() -> None:
    roster = Roster("n1", founders(["n1", "n2", "n3"]))
    assert (roster.others, roster.majority, roster.is_member) == (("n2", "n3"), 2, True)
    roster.appended(7, entry("n1", "n2", "n3", "n4"))
    assert (roster.others, roster.majority) == (("n2", "n3", "n4"), 3)
    roster.appended(8, b"\0anything else")
    roster.appended(9, entry("n2", "n3", "n4"))
    assert (roster.others, roster.majority, roster.is_member) == (("n2", "n3", "n4"), 2, False)
    assert roster.at(8).entry == 7
    assert roster.at(6) == founders(["n1", "n2", "n3"])


def test_a_truncation_brings_the_former_set_back() -> None:
    roster = Roster("n1", Voters(5, SET))
    roster.appended(7, entry("n1", "n2", "n3"))
    roster.appended(9, entry("n1", "n3"))
    before = roster.number
    roster.truncated(10)
    assert roster.number == before, "nothing that was cut off had a set"
    roster.truncated(9)
    assert roster.newest.entry == 7
    roster.truncated(6)
    assert roster.newest == Voters(5, SET)
    assert roster.number == before + 2
    assert not roster.was_member("n3")


def test_only_the_flag_that_a_node_was_added_with_counts_for_nothing() -> None:
    roster = Roster("n1", Voters(5, SET))
    assert [roster.loss_of("n2", flag) for flag in (0, 77, 78)] == [0, 0, 78]
    assert [roster.loss_of(one, 77) for one in ("n1", "n9")] == [77, 77]
