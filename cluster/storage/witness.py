"""The witness: a small file that knows how far the log had been synced.

The log alone cannot tell that its end is gone. The witness holds the number of the last batch
whose sync has returned, and is written before anything that waited for that sync is released. It
is not synced itself: after a power cut it may be older, which is harmless, as it may only
understate; against damage at rest it is exact. Two slots, each with its own checksum and on its
own page, are written in turn, so that a torn write leaves the other.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.storage.errors import NewerFormat
from cluster.storage.files import write_whole

WITNESS_FORMAT = 1
SLOT_SPACING = 4096  # bytes; a page of its own per slot
_SLOT = struct.Struct(">4sBQQ")  # magic, format, log id, batch number
_CHECK = struct.Struct(">I")
SLOT_SIZE = _SLOT.size + _CHECK.size
_MAGIC = b"tqwt"


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a witness file says: the log it belongs to and that log's last synced batch."""

    log_id: int
    number: int


def encode_slot(log_id: int, number: int) -> bytes:
    """One slot's bytes."""
    body = _SLOT.pack(_MAGIC, WITNESS_FORMAT, log_id, number)
    return body + _CHECK.pack(zlib.crc32(body))


def decode_slot(path: Path, slot: bytes) -> Attestation | None:
    """The attestation of one slot, None if it is unreadable. Raises NewerFormat."""
    if len(slot) < SLOT_SIZE:
        return None
    body = slot[: _SLOT.size]
    if zlib.crc32(body) != _CHECK.unpack_from(slot, _SLOT.size)[0]:
        return None
    magic, version, log_id, number = _SLOT.unpack(body)
    if magic != _MAGIC:
        return None
    if version > WITNESS_FORMAT:
        raise NewerFormat(path, version, WITNESS_FORMAT)
    return Attestation(log_id, number)


def read_witness(path: Path) -> Attestation | None:
    """The newer readable slot of `path`, None if the file is missing or neither is readable.

    Raises NewerFormat; OSError if the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return max(_readable(path, data), key=lambda slot: slot.number, default=None)


def _readable(path: Path, data: bytes) -> list[Attestation]:
    slots = [decode_slot(path, data[start : start + SLOT_SIZE]) for start in (0, SLOT_SPACING)]
    return [slot for slot in slots if slot]


def lacks_slot(path: Path) -> bool:
    """Whether a power cut tore a slot of `path`. The next one may tear the other before the system
    has written this one back, so it is made good, durably, before the log is used. Raises OSError.
    """
    return len(_readable(path, path.read_bytes())) < 2


def create_witness(path: Path, log_id: int, number: int) -> None:
    """Write a whole witness, durably: both slots say `number`. Raises OSError."""
    slot = encode_slot(log_id, number)
    write_whole(path, slot.ljust(SLOT_SPACING, b"\0") + slot)


class WitnessFile(Protocol):
    """What a log store needs of its witness; a simulated disk has its own."""

    def write(self, number: int) -> None: ...
    def close(self) -> None: ...


class Witness:
    """An open witness file. The slot that a batch number goes to is its lowest bit."""

    def __init__(self, path: Path, log_id: int) -> None:
        self._log_id = log_id
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, number: int) -> None:
        """Testify that batch `number` is synced. Raises OSError."""
        os.pwrite(self._fd, encode_slot(self._log_id, number), SLOT_SPACING * (number & 1))

    def close(self) -> None:
        """Sync and close; a clean stop leaves an exact witness even before a power cut."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
