"""What two nodes tell each other about themselves when they meet. Pure.

The layout must never change: it is read before the format is agreed upon and before the peer has
proved anything. So it is fixed fields and short texts, and reading it can only succeed or raise.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from cluster.replication.peers.frames import FrameError

MAGIC = b"taskqRFT"
# Raised when a frame or the handshake changes; the two ends take the lower one of theirs.
FORMAT = 1
NONCE_SIZE = 32
INCARNATION_SIZE = 16

# magic, format, nonce, incarnation, generation; then four texts
_FIXED = Struct(f">8sB{NONCE_SIZE}s{INCARNATION_SIZE}sQ")
_TEXT_COUNT = 4
# Four of them and the fixed part stay below `GREETING_SIZE_MAX`; our ids have at most 64 bytes.
TEXT_SIZE_MAX = 200


class Introduction(NamedTuple):
    """One end of a connection: who it is, and which of its connections this is."""

    node_id: str
    cluster_id: str  # empty: it belongs to no cluster yet
    disk_id: str
    incarnation: bytes  # random, one for each start of the process
    generation: int  # grows with every dial of that process


def encode_introduction(own: Introduction, to: str, nonce: bytes, version: int = FORMAT) -> bytes:
    """The payload of a Hello or Challenge to node `to`. Raises ValueError for texts that are too
    long (`TEXT_SIZE_MAX` bytes of UTF-8 each)."""
    fixed = _FIXED.pack(MAGIC, version, nonce, own.incarnation, own.generation)
    texts = [text.encode() for text in (own.node_id, own.cluster_id, own.disk_id, to)]
    for text in texts:
        if len(text) > TEXT_SIZE_MAX:
            raise ValueError(f"{text!r} is longer than {TEXT_SIZE_MAX} bytes")
    return fixed + b"".join(bytes([len(text)]) + text for text in texts)


class Introduced(NamedTuple):
    """What an introduction said; nothing of it is proved yet."""

    peer: Introduction
    to: str
    nonce: bytes
    version: int


def decode_introduction(payload: bytes) -> Introduced:
    """Reads what `encode_introduction` made. Raises FrameError for anything else."""
    if len(payload) < _FIXED.size:
        raise FrameError(f"an introduction of {len(payload)} bytes")
    magic, version, nonce, incarnation, generation = _FIXED.unpack_from(payload)
    if magic != MAGIC or version < 1:
        raise FrameError("not an introduction of a taskq node")
    node_id, cluster_id, disk_id, to = _texts(payload)
    peer = Introduction(node_id, cluster_id, disk_id, incarnation, generation)
    return Introduced(peer, to, nonce, version)


def _texts(payload: bytes) -> list[str]:
    texts = []
    position = _FIXED.size
    for _ in range(_TEXT_COUNT):
        size = payload[position] if position < len(payload) else 0
        end = position + 1 + size
        if end > len(payload) or size > TEXT_SIZE_MAX:
            raise FrameError("an introduction that ends too early or has a text too long")
        try:
            texts.append(payload[position + 1 : end].decode())
        except UnicodeDecodeError as error:
            raise FrameError("an introduction with a text that is not UTF-8") from error
        position = end
    if position != len(payload):
        raise FrameError("an introduction with something behind it")
    return texts
