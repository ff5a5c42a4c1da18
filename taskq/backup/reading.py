"""Reads a backup file from its beginning to its end, and takes nothing that is not proved.

Each record is checked before it is handed out; only a reader that reaches the end knows that the
file is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from taskq.backup.file_format import (
    BODY_SIZE_MAX,
    CHUNK,
    END,
    FORMAT,
    HEAD,
    MAGIC,
    RECORD,
    START,
    Head,
    NotWhole,
    decode_end,
    decode_head,
    matches,
)


class BackupReader:
    """`head`, and the chunks by `chunks`. `size`: bytes read so far; `sha256`: of the whole file in
    hex, once its end was reached.

    Raises NotWhole for a file that is none, is cut or changed, or of a later version; OSError.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha = hashlib.sha256()
        self.size = 0
        self.sha256 = ""
        start = self._take(len(START))
        if not start.startswith(MAGIC):
            raise NotWhole("this is no backup of taskq")
        version = int.from_bytes(start[len(MAGIC) :], "big")
        if version != FORMAT:
            raise NotWhole(
                f"this is a backup of format {version}, and this version reads format {FORMAT}"
            )
        kind, body = self._record()
        if kind != HEAD:
            raise NotWhole(f"the file begins with a record {kind!r} and not with its head")
        self.head: Head = decode_head(body)

    def chunks(self) -> Iterator[bytes]:
        """Every chunk, in order. What it gave is whole when it ends, and not before."""
        count = size = 0
        while True:
            before = self._sha.digest()
            at = self.size
            kind, body = self._record()
            if kind == END:
                break
            if kind != CHUNK or not body:
                raise NotWhole(f"a record {kind!r} that does not belong there, at byte {at}")
            count += 1
            size += len(body)
            yield body
        if decode_end(body) != (count, size, before):
            raise NotWhole("the end does not tell of what is in front of it")
        if self._file.read(1):
            raise NotWhole(f"something follows the end, at byte {self.size}")
        self.sha256 = self._sha.hexdigest()

    def _record(self) -> tuple[bytes, bytes]:
        at = self.size
        kind, size, crc = RECORD.unpack(self._take(RECORD.size))
        if size > BODY_SIZE_MAX:
            raise NotWhole(f"a record is damaged, at byte {at}")
        body = self._take(size)
        if not matches(kind, body, crc):
            raise NotWhole(f"a record does not match its checksum, at byte {at}")
        return kind, body

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        self.size += len(data)
        if len(data) < size:
            raise NotWhole(f"the file ends at byte {self.size}, in the middle")
        self._sha.update(data)
        return data
