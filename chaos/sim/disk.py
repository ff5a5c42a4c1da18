"""One machine's disk: what is on it, and what crashes, full space and bad bits do to it.

Outlives every process. A process reaches it through handles of its own (`directory`), which are
worth nothing once the process is gone: `Fence`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.sim.leveldb import Files, Record
from chaos.sim.world import World
from cluster.storage.errors import StorageFailed
from cluster.storage.identity import Identity
from cluster.storage.witness import Attestation, decode_slot, encode_slot

# A synced write, in seconds: usual, and now and then when the device is busy.
SYNC_SECS = (0.0003, 0.002)
SYNC_BUSY_SECS = (0.02, 0.12)
BUSY_CHANCE = 0.01
SPACE = 1 << 30
# Of what an interrupted write leaves.
GONE, TORN, WHOLE = "gone", "torn", "whole"


class Interrupted(BaseException):
    """The process is gone in the middle of what it did. No part of it may catch this."""


class Fence:
    """Between a process and the disk. `up`: the process lives. `interrupting`: what becomes of the
    write that is carried out just now, for the process dies in it."""

    def __init__(self) -> None:
        self.up = True
        self.interrupting = ""

    def check(self) -> None:
        """Raises Interrupted for a process that is gone."""
        if not self.up:
            raise Interrupted


class WitnessFile:
    """Two slots, written in turn and not synced. `cached`: what reads give."""

    def __init__(self, log_id: int, number: int) -> None:
        self.cached = [encode_slot(log_id, number)] * 2
        self.durable = list(self.cached)

    def _readable(self) -> list[Attestation]:
        slots = [decode_slot(Path("witness"), slot) for slot in self.cached]
        return [slot for slot in slots if slot]

    def read(self) -> Attestation | None:
        """As `read_witness`."""
        return max(self._readable(), key=lambda slot: slot.number, default=None)

    @property
    def lacks_slot(self) -> bool:
        """As `lacks_slot`."""
        return len(self._readable()) < 2

    def lose_power(self, chance: random.Random) -> None:
        """Each slot that was not synced is the old one or the new one; seldom one is torn (the
        system writes a page of 4 KiB at a time, and a slot has a page of its own)."""
        torn = chance.choice((0, 1)) if chance.random() < 0.05 else -1
        for place in (0, 1):
            if self.cached[place] != self.durable[place]:
                if place == torn:
                    self.cached[place] = b"torn"
                elif chance.random() < 0.45:
                    self.cached[place] = self.durable[place]
        self.durable = list(self.cached)


class Disk:
    """See the module. `folders`: databases by name; `aside`: what was set aside, for ever."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self._chance = world.generator("disk", name)
        self.identity: Identity | None = None
        self.folders: dict[str, Files] = {}
        self.witness: WitnessFile | None = None
        self.aside: list[tuple[str, Any]] = []
        self.unsynced_mark = False  # a file of its own: see `UnsyncedMark`
        self.failing = 0.0  # the chance that a write fails
        self.slow = 1.0  # how much longer everything takes
        self.room: int | None = None  # bytes left, where the space is nearly used up
        # Durable steps of an opening after which the power fails; None: it does not.
        self.steps_left: int | None = None
        self.on_power_failure: Callable[[], None] = lambda: None

    @property
    def now(self) -> float:
        """The world's time."""
        return self._world.now

    # --- in the life of a process -----------------------------------------------------------------

    def latency(self) -> float:
        """Seconds that the next synced write takes."""
        chance = self._chance
        low, high = SYNC_BUSY_SECS if chance.random() < BUSY_CHANCE else SYNC_SECS
        return chance.uniform(low, high) * self.slow

    def free_bytes(self) -> int:
        """Space for what is still to be written."""
        return SPACE if self.room is None else self.room

    def take(self, size: int) -> None:
        """A write of so many bytes. Raises OSError where the disk refuses it."""
        if self.failing and self._chance.random() < self.failing:
            self._world.note("write failed", self.name)
            raise OSError("input/output error")
        if self.room is not None:
            if size > self.room:
                self._world.note("disk full", self.name)
                raise OSError("no space left on device")
            self.room -= size

    def spoils(self) -> bool:
        """Whether LevelDB takes writes again after one that failed."""
        return self._chance.random() < 0.7

    def noticed(self, kind: str, text: str = "") -> None:
        """Something happened at an opening."""
        self._world.note(kind, self.name, text)

    def step(self) -> None:
        """One durable step of an opening is done: here the power may fail."""
        if self.steps_left is None:
            return
        self.steps_left -= 1
        if self.steps_left < 0:
            self.steps_left = None
            self._world.note("crash while opening", self.name)
            self.on_power_failure()
            raise Interrupted

    # --- faults -----------------------------------------------------------------------------------

    def lose_power(self) -> None:
        """The machine's memory is gone: unsynced bytes vanish or tear."""
        lost = 0
        for name in sorted(self.folders):
            lost += self.folders[name].lose_power(self._chance)
        if self.witness is not None:
            self.witness.lose_power(self._chance)
        if lost:
            self._world.note("unsynced lost", self.name, f"{lost} records")

    def wipe(self) -> None:
        """A new, empty disk."""
        self.identity = self.witness = None
        self.unsynced_mark = False
        self.folders.clear()
        self.aside.clear()
        self.failing, self.slow, self.room = 0.0, 1.0, None

    def damage(self, kind: str) -> str:
        """Bad bits where data rests; what was done, "" where there was nothing to damage.

        `kind`: log-end, log-middle, log-cut, log-gone, state-end, state-middle, state-table,
        state-gone, witness, witness-slot.
        """
        name, _, how = kind.partition("-")
        if name == "witness":
            return self._damage_witness(how)
        files = self.folders.get(name)
        if files is None:
            return ""
        if how == "gone":
            del self.folders[name]
            return f"{name} removed"
        if how == "table":
            keys = sorted(key for key in files.tables.values if key[:1] in b"de")
            if not keys:
                return ""
            place = self._chance.randrange(len(keys))
            files.rotten.update(keys[place : place + 8])
            return f"{name}: {len(keys[place : place + 8])} keys of a table rotten"
        return self._damage_write_ahead(name, files.records(), how, files)

    def _damage_witness(self, how: str) -> str:
        if self.witness is None:
            return ""
        places = [self._chance.randrange(2)] if how == "slot" else [0, 1]
        for place in places:
            self.witness.cached[place] = self.witness.durable[place] = b"flipped"
        return f"witness: slots {places}"

    def _damage_write_ahead(self, name: str, records: list[Record], how: str, files: Files) -> str:
        if not records:
            return ""
        if how == "end":
            records[-1].readable = False
            return f"{name}: the last of {len(records)} records"
        place = self._chance.randrange(len(records))
        if how == "middle":
            records[place].readable = False
            return f"{name}: record {place} of {len(records)}"
        gone = 0
        for one in files.write_aheads:
            kept = [record for record in one.records if record not in records[place:]]
            gone += len(one.records) - len(kept)
            one.records = kept
        return f"{name}: cut, {gone} of {len(records)} records are gone"


class SimWitness:
    """As `Witness`, over a simulated file."""

    def __init__(self, file: WitnessFile, log_id: int, disk: Disk, fence: Fence) -> None:
        self._file = file
        self._log_id = log_id
        self._disk = disk
        self._fence = fence

    def write(self, number: int) -> None:
        """Raises OSError."""
        self._fence.check()
        self._disk.take(0)
        self._file.cached[number & 1] = encode_slot(self._log_id, number)

    def close(self) -> None:
        """Synced where the process closes it by itself."""
        if self._fence.up:
            self._file.durable = list(self._file.cached)


class SimUnsyncedMark:
    """As `UnsyncedMark`, on a simulated disk."""

    def __init__(self, disk: Disk, fence: Fence) -> None:
        self._disk = disk
        self._fence = fence

    @property
    def is_there(self) -> bool:
        """Whether the last process ended before everything was synced."""
        return self._disk.unsynced_mark

    def put(self) -> None:
        """Raises StorageFailed."""
        self._set(there=True)

    def remove(self) -> None:
        """Raises StorageFailed."""
        self._set(there=False)

    def _set(self, *, there: bool) -> None:
        if self._disk.unsynced_mark == there:
            return
        self._fence.check()
        try:
            self._disk.take(50)
        except OSError as error:
            raise StorageFailed(f"writing the mark failed: {error}") from error
        self._disk.unsynced_mark = there
        self._disk.step()
