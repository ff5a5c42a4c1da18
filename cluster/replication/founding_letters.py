"""What nodes write to each other while a cluster is founded. Pure; strict in what it reads.

A letter is a msgpack array: format, kind, fields. Whatever is not exactly one of the five kinds,
with ids of bounded size, is a ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from cluster.replication.founding_record import ID_SIZE_MAX, MEMBER_COUNT_MAX

FORMAT = 1
# Two ids for each member, and room.
LETTER_SIZE_MAX = MEMBER_COUNT_MAX * 2 * (ID_SIZE_MAX + 8) + 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """A node that belongs to no cluster yet: is there one? `members`: its founding set, sorted."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepare:
    """The minter proposes a cluster id to its founding set."""

    cluster_id: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """To *prepare*: this is the disk that would vote in that cluster."""

    cluster_id: str
    disk_id: str


@dataclass(frozen=True, slots=True)
class Formed:
    """The cluster is founded, with these disks."""

    cluster_id: str
    disks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Differ:
    """The founding set of the sender is another one."""

    members: tuple[str, ...]


Letter = Ask | Prepare | Answer | Formed | Differ


def encode(letter: Letter) -> bytes:
    """The bytes of a letter."""
    packed: bytes = msgpack.packb([FORMAT, *_fields(letter)])
    return packed


def _fields(letter: Letter) -> list[Any]:
    match letter:
        case Ask(members):
            return [1, list(members)]
        case Prepare(cluster_id, members):
            return [2, cluster_id, list(members)]
        case Answer(cluster_id, disk_id):
            return [3, cluster_id, disk_id]
        case Formed(cluster_id, disks):
            return [4, cluster_id, dict(disks)]
        case Differ(members):
            return [5, list(members)]


def decode(message: bytes) -> Letter:
    """Reads what `encode` made. Raises ValueError for anything else."""
    if len(message) > LETTER_SIZE_MAX:
        raise ValueError(f"a letter of {len(message)} bytes")
    try:
        body = msgpack.unpackb(message, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ValueError(f"no letter ({error})") from error
    if type(body) is not list or len(body) < 2 or {type(body[0]), type(body[1])} != {int}:
        raise ValueError("a letter without format and kind")
    if body[0] != FORMAT:
        raise ValueError(f"a letter of format {body[0]}; this version knows {FORMAT}")
    match body[1:]:
        case [1, members]:
            return Ask(_members(members))
        case [2, cluster_id, members]:
            return Prepare(_id(cluster_id), _members(members))
        case [3, cluster_id, disk_id]:
            return Answer(_id(cluster_id), _id(disk_id))
        case [4, cluster_id, dict(disks)] if 0 < len(disks) <= MEMBER_COUNT_MAX:
            checked = {_id(node_id): _id(disk_id) for node_id, disk_id in disks.items()}
            return Formed(_id(cluster_id), checked)
        case [5, members]:
            return Differ(_members(members))
    raise ValueError("a letter of no known kind")


def _id(value: Any) -> str:
    if type(value) is not str or not 0 < len(value) <= ID_SIZE_MAX or not value.isprintable():
        raise ValueError("an id that is none")
    return value


def _members(values: Any) -> tuple[str, ...]:
    if type(values) is not list or not 0 < len(values) <= MEMBER_COUNT_MAX:
        raise ValueError("a list of members that is none")
    members = tuple(_id(value) for value in values)
    if list(members) != sorted(set(members)):
        raise ValueError("a list of members out of order")
    return members
