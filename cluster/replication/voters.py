"""Who votes: the set that a membership entry names, and its bytes (A10). Pure.

    entry in the log    MEMBERS, then msgpack [format, [[node id, address, flag], ...]]
    record in the state key `keys.MEMBERS`: msgpack [format, index, [[node id, address, flag], ...]]

An entry names the whole new set, ids in order. `index` is that of the entry that made it; what has
neither entry nor record is the founding set, at index 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgpack

from cluster.replication.founding_record import ID_SIZE_MAX, MEMBER_COUNT_MAX

# The first byte of a membership entry in the log; 0 to 3 are taken by PySyncObj and stand-ins.
MEMBERS = b"\4"
FORMAT = 1
ADDRESS_SIZE_MAX = 300
_NUMBER_MAX = 2**63 - 1


class Voter(NamedTuple):
    """`address`: "host:port" of the Raft port; empty where it is not known. `flag`: the non-voting
    flag that the node bore when it was added, 0 for none: that one counts for nothing from then on,
    because a node that was no member owes the cluster nothing that it may have forgotten; and it
    tells its disk from others that had its name."""

    address: str = ""
    flag: int = 0


class Voters(NamedTuple):
    """A set of members, by node id, and the index of the `entry` that made it."""

    entry: int
    members: Mapping[str, Voter]


def founders(addresses: Mapping[str, str] | Iterable[str]) -> Voters:
    """The founding set: node id -> address, or ids alone."""
    known = addresses if isinstance(addresses, Mapping) else dict.fromkeys(addresses, "")
    return Voters(0, {one: Voter(known[one]) for one in sorted(known)})


def encode_entry(members: Mapping[str, Voter]) -> bytes:
    """The command of a membership entry."""
    packed: bytes = msgpack.packb([FORMAT, _rows(members)])
    return MEMBERS + packed


def decode_entry(command: bytes) -> dict[str, Voter]:
    """The set that a membership entry names. Raises ValueError for anything else."""
    if command[:1] != MEMBERS:
        raise ValueError("not a membership entry")
    return _members(_unpack(command[1:], 2)[1])


def encode_record(voters: Voters) -> bytes:
    """The value in the state."""
    packed: bytes = msgpack.packb([FORMAT, voters.entry, _rows(voters.members)])
    return packed


def decode_record(record: bytes) -> Voters:
    """The set in a state. Raises ValueError for anything that `encode_record` does not make."""
    _, index, rows = _unpack(record, 3)
    if type(index) is not int or not 0 <= index <= _NUMBER_MAX:
        raise ValueError("a set of members without an index")
    return Voters(index, _members(rows))


def _rows(members: Mapping[str, Voter]) -> list[list[Any]]:
    return [[one, *members[one]] for one in sorted(members)]


def _unpack(data: bytes, count: int) -> list[Any]:
    try:
        body = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ValueError(f"no set of members ({error})") from error
    if type(body) is not list or not body or type(body[0]) is not int:
        raise ValueError("no set of members")
    if body[0] != FORMAT:
        raise ValueError(f"a set of members of format {body[0]}; this version reads {FORMAT}")
    if len(body) != count:
        raise ValueError(f"a set of members with {len(body)} parts")
    return body


def _members(rows: Any) -> dict[str, Voter]:
    if type(rows) is not list or not 0 < len(rows) <= MEMBER_COUNT_MAX:
        raise ValueError("a set of members that is none")
    found: dict[str, Voter] = {}
    for row in rows:
        if type(row) is not list or [type(part) for part in row] != [str, str, int]:
            raise ValueError("a member that is none")
        node_id, address, flag = row
        bounded = 0 < len(node_id) <= ID_SIZE_MAX and len(address) <= ADDRESS_SIZE_MAX
        if not bounded or not 0 <= flag <= _NUMBER_MAX:
            raise ValueError("a member out of bounds")
        found[node_id] = Voter(address, flag)
    if len(found) != len(rows) or list(found) != sorted(found):
        raise ValueError("members out of order")
    return found
