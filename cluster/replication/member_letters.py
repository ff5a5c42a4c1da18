"""What nodes tell each other about who is a member, and where they themselves are reached. Pure.

A letter goes out with each connection and whenever the members have changed. It decides nothing
(the log does): it lets a node answer one that it does not know yet, and a node that was removed
while it was away hear of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from cluster.replication.founding_record import ID_SIZE_MAX, MEMBER_COUNT_MAX
from cluster.replication.peers.names import parse_address
from cluster.replication.voters import ADDRESS_SIZE_MAX

FORMAT = 1
LETTER_SIZE_MAX = MEMBER_COUNT_MAX * (ID_SIZE_MAX + 8) + ADDRESS_SIZE_MAX + 1024
_NUMBER_MAX = 2**63 - 1


class MemberLetter(NamedTuple):
    """`address`: where the Raft port of the sender is; `entry`, `members`: the newest set that is
    committed, as far as it knows, sorted, and the index of the entry that made it."""

    address: str
    entry: int
    members: list[str]


def encode(letter: MemberLetter) -> bytes:
    """The bytes of a letter."""
    packed: bytes = msgpack.packb([FORMAT, *letter])
    return packed


def decode(data: bytes | memoryview) -> MemberLetter:
    """Reads what `encode` made; what a later version adds behind it is passed over. Raises
    ValueError for anything else."""
    if len(data) > LETTER_SIZE_MAX:
        raise ValueError(f"a letter of {len(data)} bytes")
    try:
        body = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ValueError(f"no letter ({error})") from error
    if type(body) is not list or len(body) < 4 or body[0] != FORMAT:
        raise ValueError("a letter of no known format")
    _, address, entry, members, *_ = body
    if type(address) is not str or len(address) > ADDRESS_SIZE_MAX:
        raise ValueError("an address that is none")
    parse_address(address)
    if type(entry) is not int or not 0 <= entry <= _NUMBER_MAX:
        raise ValueError("an index that is none")
    if type(members) is not list or len(members) > MEMBER_COUNT_MAX:
        raise ValueError("members that are none")
    return MemberLetter(address, entry, [_id(one) for one in members])


def _id(value: Any) -> str:
    if type(value) is not str or not 0 < len(value) <= ID_SIZE_MAX:
        raise ValueError("an id that is none")
    return value
