"""What the members of a group say to each other about the log: shapes and their bytes. Pure.

    msgpack [kind, field, ...]

Every message carries the sender's term, and `loss`: the number of the non-voting flag that its
sender bears (A4, A8), else of the one that it was added with (A10), 0 for none. Cluster and sender
are proved by the connection (`peers`). Times are in milliseconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

import msgpack

# Entries of an append are (term, command); the first has the index after `prev_index`.
LogEntry = tuple[int, bytes]


class Append(NamedTuple):
    """The leader's entries after (prev_index, prev_term). The same for every peer that needs them,
    so that it is encoded once."""

    term: int
    loss: int
    prev_index: int
    prev_term: int
    commit: int
    elapsed_ms: int
    entries: list[LogEntry]


class Ack(NamedTuple):
    """The sender's disk holds the leader's log up to `match`; its clock says `wall_ms`."""

    term: int
    loss: int
    match: int
    wall_ms: int


class Reject(NamedTuple):
    """The append after `prev_index` does not fit; `hint` may be the last index that does."""

    term: int
    loss: int
    prev_index: int
    hint: int


class Heartbeat(NamedTuple):
    """The leader's sign of life. `round` grows by one each time (A6); `sent`: the last index that
    was sent to this peer; `clear`, `clear_index`: the flag numbered so may be cleared when the
    entry is held (A8)."""

    term: int
    loss: int
    round: int
    sent: int
    commit: int
    elapsed_ms: int
    clear: int
    clear_index: int


class HeartbeatReply(NamedTuple):
    """`sent` as in the heartbeat; `verified`: the sender's log agrees with the leader's up to
    there, `match`: and holds it on disk; `last`: the end of its log; `digest`: of its
    state at `digest_index` (A14)."""

    term: int
    loss: int
    round: int
    sent: int
    verified: int
    match: int
    last: int
    applied: int
    wall_ms: int
    digest_index: int
    digest: int


class PreVote(NamedTuple):
    """Would you vote for me in term `proposed`? That term is adopted by nobody (A4)."""

    term: int
    loss: int
    proposed: int
    last_index: int
    last_term: int


class PreVoteReply(NamedTuple):
    """The answer; `uncertain` as in `VoteReply`."""

    term: int
    loss: int
    proposed: int
    granted: bool
    uncertain: bool


class Vote(NamedTuple):
    """Vote for me in `term`."""

    term: int
    loss: int
    last_index: int
    last_term: int


class VoteReply(NamedTuple):
    """The answer. An `uncertain` sender's vote counts only where all members vote alike (L4)."""

    term: int
    loss: int
    granted: bool
    uncertain: bool


class TimeoutNow(NamedTuple):
    """Stand for election at once, if your log ends at `last_index` (A7)."""

    term: int
    loss: int
    last_index: int


class Newer(NamedTuple):
    """The answer to a message of a lower term that asks for no other answer (A4)."""

    term: int
    loss: int


class Diverged(NamedTuple):
    """Your state at this index differs from that of the others: stop (A14)."""

    term: int
    loss: int
    at: int


class Resigned(NamedTuple):
    """The sender leads no more, because its disk fails or it stops: do not wait for its silence."""

    term: int
    loss: int


Message = (
    Append
    | Ack
    | Reject
    | Heartbeat
    | HeartbeatReply
    | PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | TimeoutNow
    | Newer
    | Diverged
    | Resigned
)

# Numbers on the wire: never given to another shape.
KINDS: dict[int, type[Message]] = {
    1: Append,
    2: Ack,
    3: Reject,
    4: Heartbeat,
    5: HeartbeatReply,
    6: PreVote,
    7: PreVoteReply,
    8: Vote,
    9: VoteReply,
    10: TimeoutNow,
    11: Newer,
    12: Diverged,
    13: Resigned,
}
_NUMBER = {shape: number for number, shape in KINDS.items()}
# The type of each field; entries are the only ones that are lists.
_TYPES: dict[type[Message], tuple[type, ...]] = {
    shape: tuple(one if one in (int, bool) else list for one in get_type_hints(shape).values())
    for shape in KINDS.values()
}
_NUMBER_MAX = 2**63 - 1
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    data: bytes = _packer.pack((_NUMBER[type(message)], *message))
    return data


def decode(data: bytes | memoryview) -> Message:
    """The message in `data`. Raises ValueError for anything that `encode` does not make."""
    try:
        kind, *fields = msgpack.unpackb(data, use_list=True, strict_map_key=True)
        if type(kind) is not int:  # true and 1.0 would find the shape of 1
            raise TypeError(f"{kind!r:.40} is no kind")
        shape = KINDS[kind]
        types = _TYPES[shape]
    except Exception as error:
        raise ValueError(f"not a message between nodes: {error}") from error
    if len(fields) != len(types):
        raise ValueError(f"{shape.__name__} with {len(fields)} fields instead of {len(types)}")
    for value, wanted in zip(fields, types, strict=True):
        if type(value) is not wanted or (type(value) is int and not 0 <= value <= _NUMBER_MAX):
            raise ValueError(f"{shape.__name__} with the field {value!r:.40}")
    if shape is Append:
        _check_entries(fields[-1])
    made: Any = shape(*fields)
    return made  # type: ignore[no-any-return]


def _check_entries(entries: list[Any]) -> None:
    for entry in entries:
        if not (type(entry) is list and len(entry) == 2):
            raise ValueError("an append with something that is no entry")
        term, command = entry
        if type(term) is not int or not 0 <= term <= _NUMBER_MAX or type(command) is not bytes:
            raise ValueError("an append with a malformed entry")
