"""What a journal of a shimmed disk says of a power cut."""

from __future__ import annotations

import struct

from chaos.live.power import rebuilt
from chaos.live.power_journal import Kind, read_journal, records

A, B, FOLDER = 11, 12, 1


class Written:
    """A journal, as the library would write it."""

    def __init__(self) -> None:
        self.data = b""

    def add(
        self,
        kind: Kind,
        inode: int,
        *paths: str,
        offset: int = 0,
        length: int = 0,
        old_size: int = 0,
        old: bytes = b"",
        parent: int = 0,
    ) -> None:
        names = [path.encode() for path in (*paths, "", "", "")[:3]]
        tail = b"".join(names) + old
        sizes = [len(name) for name in names]
        head = struct.pack(
            "<IH3H4xQ2Qqqq",
            *(64 + len(tail), kind, *sizes, inode, parent, 0, offset, length, old_size),
        )
        self.data += head + tail

    def append(self, inode: int, at: int, size: int) -> None:
        self.add(Kind.WRITE, inode, offset=at, length=size, old_size=at)

    def sync(self, inode: int, kind: Kind = Kind.SYNC) -> None:
        """One that began just now."""
        self.add(kind, inode, offset=len(self.data))


def test_a_sync_covers_what_was_written_before_it_began() -> None:
    journal = Written()
    journal.append(A, 0, 4)
    began = len(journal.data)
    journal.append(A, 4, 4)
    journal.add(Kind.SYNC, A, offset=began)
    changes = read_journal(journal.data).files[A].changes
    assert [(one.offset, one.durable) for one in changes] == [(4, False)]


def test_a_file_that_is_synced_whole_is_no_more_in_it() -> None:
    journal = Written()
    journal.append(A, 0, 4)
    journal.append(B, 0, 4)
    journal.sync(A)
    assert list(read_journal(journal.data).files) == [B]


def test_names_are_sure_up_to_the_last_that_a_sync_covers() -> None:
    journal = Written()
    journal.add(Kind.CREATE, A, "/d/a", parent=FOLDER)
    journal.add(Kind.CREATE, B, "/d/b", parent=FOLDER)
    journal.add(Kind.UNLINK, A, "/d/a", "", "/k/0", parent=FOLDER)
    assert read_journal(journal.data).sure == 0
    journal.sync(B)
    assert read_journal(journal.data).sure == 2, "its own name, and all before it"
    journal.sync(FOLDER, Kind.SYNC_DIRECTORY)
    found = read_journal(journal.data)
    assert (found.sure, len(found.names)) == (3, 3)


def test_what_a_failed_sync_was_to_cover_is_never_durable() -> None:
    journal = Written()
    journal.append(A, 0, 4)
    journal.sync(A, Kind.SYNC_FAILED)
    journal.append(A, 4, 4)
    journal.sync(A)
    changes = read_journal(journal.data).files[A].changes
    assert [one.durable for one in changes] == [False, True]
    assert rebuilt(b"aaaabbbb", changes, lambda one: one.durable) == b"\0\0\0\0bbbb"


def test_a_file_with_the_inode_of_one_that_is_gone_is_another() -> None:
    journal = Written()
    journal.append(A, 0, 4)
    journal.add(Kind.CREATE, A, "/d/a", parent=FOLDER)
    assert A not in read_journal(journal.data).files


def test_bytes_are_put_back_and_done_again_in_their_order() -> None:
    journal = Written()
    journal.add(Kind.WRITE, A, offset=1, length=2, old_size=3, old=b"bc")
    journal.add(Kind.TRUNCATE, A, length=1, old_size=3, old=b"yz")
    journal.add(Kind.WRITE, A, offset=3, length=1, old_size=1)
    changes = read_journal(journal.data).files[A].changes
    present = b"a\0\0q"
    assert rebuilt(present, changes, lambda _: False) == b"abc"
    assert rebuilt(present, changes, lambda one: one is changes[0]) == b"ayz"
    assert rebuilt(present, changes, lambda one: one is not changes[1]) == b"ayzq"
    assert rebuilt(present, changes, lambda _: True) == present


def test_half_a_record_at_the_end_never_happened() -> None:
    journal = Written()
    journal.append(A, 0, 4)
    whole = len(journal.data)
    journal.append(A, 4, 4)
    assert len(list(records(journal.data[: whole + 30]))) == 1


def test_what_is_old_was_written_back() -> None:
    journal = Written()
    for at in range(0, 400, 4):
        journal.append(A, at, 4)
    kept = 10 * 64
    found = read_journal(journal.data, written_back_size=kept).files[A].changes
    assert [one.offset for one in found] == list(range(360, 400, 4))
