"""The disk of one node, as the library in front of it sees it: what it is to do, and its journal.

side/control   what the library does now; shared memory
side/journal   what would undo each change that was not synced
side/kept/     what was removed, and images of mapped files
"""

from __future__ import annotations

import mmap
import shutil
import struct
from pathlib import Path

from chaos.live.shim.build import library

# The fields of `struct control`, in its order.
_FIELDS = (
    *("seed", "sync_us_least", "sync_us_most", "write_us_least", "write_us_most", "stalled"),
    *("room", "room_told", "aim", "failing_reads", "failing_writes", "failing_syncs"),
    *("delayed", "refused", "failed"),
)
_VALUE = struct.Struct("<q")
# What fails: everything, or what is below log/ (and the witness), or below state/.
EVERYTHING, LOG, STATE = 0, 1, 2
ALWAYS = 1_000_000  # of a million calls
_US = 1_000_000


class ShimmedDisk:
    """Puts the library in front of `folder`, for the next process that gets `environment`.

    `side`: a folder of ours beside it, on the same file system. What is in `folder` now counts as
    synced. Raises NoCompiler, OSError.
    """

    def __init__(self, folder: Path, side: Path, seed: int = 1) -> None:
        self.folder = folder.absolute()
        self.side = side.absolute()
        self.journal = self.side / "journal"
        self.kept = self.side / "kept"
        self._library = library()
        self.kept.mkdir(parents=True, exist_ok=True)
        place = self.side / "control"
        place.write_bytes(bytes(_VALUE.size * len(_FIELDS)))
        with place.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 0)
        self._put(seed=seed, room=-1)
        self.forget()

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the process."""
        return {
            "LD_PRELOAD": str(self._library),
            "TASKQ_DISK_FOLDER": str(self.folder),
            "TASKQ_DISK_SIDE": str(self.side),
        }

    def forget(self) -> None:
        """From now on everything counts as synced. No process uses the folder."""
        self.journal.write_bytes(b"")
        shutil.rmtree(self.kept)
        self.kept.mkdir()

    def _put(self, **fields: int) -> None:
        for name, value in fields.items():
            _VALUE.pack_into(self._control, _VALUE.size * _FIELDS.index(name), value)

    def _get(self, name: str) -> int:
        value: int = _VALUE.unpack_from(self._control, _VALUE.size * _FIELDS.index(name))[0]
        return value

    # --- what it does -----------------------------------------------------------------------------

    def slow(
        self,
        sync_secs: tuple[float, float] = (0.0, 0.0),
        write_secs: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Each sync and each write takes so much longer: (least, most)."""
        self._put(
            sync_us_least=int(sync_secs[0] * _US),
            sync_us_most=int(sync_secs[1] * _US),
            write_us_least=int(write_secs[0] * _US),
            write_us_most=int(write_secs[1] * _US),
        )

    def stall(self) -> None:
        """Writes and syncs wait, until `heal`."""
        self._put(stalled=1)

    def leave_room(self, size: int, *, told: bool = True) -> None:
        """Files may grow by `size` bytes together. `told`: who asks for the free space hears so."""
        self._put(room_told=int(told), room=size)

    def fail(
        self, *, reads: int = 0, writes: int = 0, syncs: int = 0, aim: int = EVERYTHING
    ) -> None:
        """So many of a million calls end in EIO."""
        self._put(aim=aim, failing_reads=reads, failing_writes=writes, failing_syncs=syncs)

    def heal(self) -> None:
        """A good disk again."""
        self.slow()
        self.fail()
        self._put(stalled=0, room=-1)

    @property
    def met(self) -> int:
        """Calls so far that took longer, had no room, were told that there is none, or ended in
        EIO."""
        return self._get("delayed") + self._get("refused") + self._get("failed")
