"""Keys of the state's ordered map. All order comes from them; integers are big-endian.

g                                  settings                 n   counters         m   clocks
v                                  feature level, once it was raised
q <queue>                          queue: settings and counts
t <id>                             task head                p <id>  payload      o <id>  result
a <id> <attempt 4>                 one ended attempt        (p, o: only what is large)
r <queue> 00 <rank 8> <seq 8>      ready -> id              smallest key is claimed first
s <due 8> <seq 8>                  due in cluster time -> id
w <due 8> <seq 8>                  due in wall time -> id
u <queue> 00 <id>                  waits for its time       what a purge finds
x <deadline 8> <id>                end of the TTL
k <worker>                         worker
c <worker> <claim number 8>        claim: its leases; while it has any, or may be repeated
f <ended wall 8> <number 8>        ids of tasks that ended  d <ended wall 8> <id>  dead
z <id>                             id of a removed task     y <due 8> <id>  when to forget it
e                                  who votes: written and read by the replication alone
"""

from __future__ import annotations

from struct import Struct

SETTINGS = b"g"
COUNTERS = b"n"
CLOCKS = b"m"
LEVEL = b"v"
QUEUE = b"q"
TASK = b"t"
PAYLOAD = b"p"
RESULT = b"o"
ATTEMPT = b"a"
READY = b"r"
DUE_ELAPSED = b"s"
DUE_WALL = b"w"
WAITING = b"u"
TTL = b"x"
WORKER = b"k"
CLAIM = b"c"
FINISHED = b"f"
DEAD = b"d"
FORGOTTEN = b"z"
FORGET_DUE = b"y"
MEMBERS = b"e"

FORMAT = 3  # first element of every record

_u32 = Struct(">I").pack
_u64 = Struct(">Q")
_place = Struct(">QQ")

u64 = _u64.pack


def from_u64(data: bytes) -> int:
    """The integer of 8 big-endian bytes."""
    value: int = _u64.unpack(data)[0]
    return value


def ready_prefix(queue: str) -> bytes:
    """Start of the keys of a queue's ready tasks."""
    return READY + queue.encode() + b"\0"


# The part of a ready key that orders the queue, (rank, sequence), or of a key of tasks that ended,
# (wall, number): 16 bytes, which compare as the numbers do.
place = _place.pack
PLACE_SIZE = _place.size
FIRST_PLACE = bytes(PLACE_SIZE)


def from_place(data: bytes) -> tuple[int, int]:
    """The two numbers of the 16 bytes made by `place`."""
    rank, sequence = _place.unpack(data)
    return rank, sequence


def before(data: bytes) -> bytes:
    """The place just before another; of the first one, itself."""
    number = int.from_bytes(data, "big")
    return max(number - 1, 0).to_bytes(PLACE_SIZE, "big")


def waiting_prefix(queue: str) -> bytes:
    """Start of the keys of a queue's scheduled and retrying tasks."""
    return WAITING + queue.encode() + b"\0"


def attempt_key(task_id: bytes, number: int) -> bytes:
    """Key of the record of one ended attempt."""
    return ATTEMPT + task_id + _u32(number)


def claim_key(worker_id: bytes, number: int) -> bytes:
    """Key of what a claim returned."""
    return CLAIM + worker_id + u64(number)
