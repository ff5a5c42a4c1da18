"""What `repair` sees in a data folder, and what it would keep and lose: data, in plain words.

Nothing in the folder is changed by examining it, but for copies beside the originals that are
removed again. The command line shows `Examination.lines` and asks.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from cluster.storage.database import Database, find_damage
from cluster.storage.errors import DataDamaged
from cluster.storage.files import is_missing_or_empty
from cluster.storage.log_check import check_log, check_witness
from cluster.storage.log_records import Head
from cluster.storage.manifest import live_logs, read_manifest
from cluster.storage.opening import Condition, check_copy, examine_folder
from cluster.storage.salvage import newest_readable_head, readable_runs, salvaged_copy
from cluster.storage.state_store import read_state_head, verify_state
from cluster.storage.wal import scan
from cluster.storage.witness import Attestation, read_witness


class LogPlan(enum.Enum):
    """What a repair does with the log."""

    KEEP = "it is whole and stays"
    KEEP_RUN = "a new log is built from the readable entries"


class StatePlan(enum.Enum):
    """What a repair does with the state."""

    KEEP = "it is whole and stays"
    CUT = "it is cut at the damage, and the log replays what came after"
    REBUILD = "it is built again from the log"
    SALVAGE = "every readable record is kept; it may be inconsistent"


@dataclass(slots=True)
class LogReport:
    """The log: `damage` (None if whole), `runs` of readable entries (both ends included), `last`:
    the last entry known to have been there, `head` and `number` of the newest readable batch."""

    damage: DataDamaged | None = None
    runs: list[tuple[int, int]] = field(default_factory=list)
    last: int = 0
    number: int = 0
    head: Head | None = None
    attestation: Attestation | None = None
    plan: LogPlan = LogPlan.KEEP
    keep: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class StateReport:
    """The state: `damage` (None if whole), `index` that it is or would be cut to, -1 where no
    whole state can be read."""

    damage: DataDamaged | None = None
    index: int = -1
    plan: StatePlan = StatePlan.KEEP


@dataclass(slots=True)
class Examination:
    """Both reports and what follows. `lost`: entries (both ends included) that a repair gives up;
    `lossless`: whether it loses nothing that was acknowledged."""

    path: Path
    log: LogReport
    state: StateReport
    lost: list[tuple[int, int]] = field(default_factory=list)
    unknown_loss: bool = False

    @property
    def healthy(self) -> bool:
        """Nothing is damaged; there is nothing to repair."""
        return self.log.damage is None and self.state.damage is None

    @property
    def lossless(self) -> bool:
        """A repair loses nothing."""
        return not self.lost and not self.unknown_loss

    def lines(self) -> list[str]:
        """The findings and the plan, one sentence each."""
        found = [
            f"log: {self.log.damage or 'whole'}",
            "log: readable entries " + (_ranges(self.log.runs) or "none"),
            f"log: {self.log.plan.value}"
            + (f" ({_ranges([self.log.keep])})" if self.log.plan is LogPlan.KEEP_RUN else ""),
            f"state: {self.state.damage or 'whole'}",
            f"state: {self.state.plan.value}"
            + (f" (up to entry {self.state.index})" if self.state.plan is StatePlan.CUT else ""),
        ]
        if self.lost:
            found.append(f"lost for good: entries {_ranges(self.lost)}")
        if self.unknown_loss:
            found.append("lost for good: what cannot be read; how much it was is not known")
        if self.lossless:
            found.append("nothing that was acknowledged is lost")
        found.append("the originals are kept in set-aside/")
        return found


def _ranges(runs: list[tuple[int, int]]) -> str:
    return ", ".join(
        str(first) if first == last else f"{first} to {last}" for first, last in runs if last
    )


def examine_log(directory: Path, witness: Path) -> LogReport:
    """Look at the log. Raises NewerFormat, StorageFailed, OSError."""
    report = LogReport(attestation=read_witness(witness))

    def verify(database: Database, condition: Condition) -> None:
        report.number, report.head = check_log(database)
        check_witness(database, report.number, report.head, report.attestation)

    try:
        if is_missing_or_empty(directory):
            raise DataDamaged(directory, "the folder is missing or empty")
        check_copy(examine_folder(directory), verify)
    except DataDamaged as damage:
        report.damage = damage if damage.offset is not None else find_damage_in(directory, damage)
        report.plan = LogPlan.KEEP_RUN
    else:
        assert report.head is not None  # verify ran
        report.last = report.head.last
        if report.head.last:
            report.runs = [(report.head.first, report.head.last)]
        return report
    if is_missing_or_empty(directory):
        return report
    with salvaged_copy(directory) as database:
        found = newest_readable_head(database)
        if found is not None:
            report.number, report.head = found
        report.runs = readable_runs(database, report.head.first if report.head else 0)
    known = report.head.last if report.head else 0
    report.last = max([known, *(last for _, last in report.runs)])
    return report


def find_damage_in(directory: Path, damage: DataDamaged) -> DataDamaged:
    """The same damage with a file and an offset, where a table shows one."""
    try:
        return find_damage(directory) or damage
    except OSError:
        return damage


def examine_state(directory: Path) -> StateReport:
    """Look at the state, without a plan yet. Raises NewerFormat, StorageFailed, OSError."""
    report = StateReport()

    def verify(database: Database, condition: Condition) -> None:
        verify_state(database, condition)
        report.index = read_state_head(database)[2]

    try:
        if is_missing_or_empty(directory):
            raise DataDamaged(directory, "the folder is missing or empty")
        check_copy(examine_folder(directory), verify)
        damage = find_damage(directory)
        if damage is None:
            return report
        report.damage = damage
        report.index = -1
    except DataDamaged as damage:
        report.damage = damage
        report.index = -1
        try:
            check_copy(cut_condition(directory), verify)
            if find_damage(directory) is not None:
                report.index = -1
        except (DataDamaged, FileNotFoundError):
            report.index = -1  # no whole state can be cut from it
    return report


def cut_condition(directory: Path) -> Condition:
    """The folder as if everything from the first unreadable batch on had never been written.

    Raises DataDamaged where its manifest is unreadable, OSError.
    """
    manifest = read_manifest(directory)
    condition = Condition(directory, manifest, [], {})
    if manifest.bad is not None:
        condition.cuts[manifest.path] = manifest.end
    broken = False
    following: int | None = None
    for path in live_logs(directory, manifest):
        found = scan(path, following)
        condition.logs.append(found)
        if broken or found.bad is not None:
            condition.cuts[path] = 0 if broken else found.end
            broken = True
        following = found.next_sequence or following
    return condition
