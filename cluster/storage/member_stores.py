"""Opens log and state of a member of a group, whatever the disk has done to them.

Looks at both before anything is changed, asks `member_policy`, and carries its plan out, the log
first: a crash between any two steps leaves a folder from which the next opening goes on, and never
an empty log without the flag where one was lost. `DataDirectory.open_member_stores` is the door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.files import is_missing_or_empty
from cluster.storage.flags import NON_VOTING_FLAG, new_flag_id
from cluster.storage.log_store import CheckedLog, LogStore, never_written
from cluster.storage.member_policy import Found, LogFound, StateFound, Step, plan_member
from cluster.storage.state_store import CheckedState, StateStore

if TYPE_CHECKING:
    from cluster.storage.directory import DataDirectory


@dataclass(frozen=True, slots=True)
class MemberStores:
    """Both open. `loss`: what was lost and where it is kept, one sentence; "" if nothing was."""

    log: LogStore
    state: StateStore
    loss: str


@dataclass(frozen=True, slots=True)
class _Look:
    """Both as found, unopened: checked, damaged, or None where never there."""

    log: CheckedLog | DataDamaged | None
    state: CheckedState | DataDamaged | None

    def found(self) -> Found:
        """What the policy needs of it."""
        state, index, as_received = StateFound.MISSING, 0, False
        if isinstance(self.state, CheckedState):
            state, index = StateFound.WHOLE, self.state.index
            as_received = self.state.as_received
        elif self.state is not None:
            state = StateFound.DAMAGED
        if not isinstance(self.log, CheckedLog):
            log = LogFound.NEW if self.log is None else LogFound.LOST
            return Found(log, state, index=index, as_received=as_received)
        head = self.log.head
        flagged = NON_VOTING_FLAG in head.flags
        return Found(LogFound.WHOLE, state, head.first, head.last, flagged, index, as_received)


def open_members(directory: DataDirectory, *, listed: bool) -> MemberStores:
    """See `DataDirectory.open_member_stores`."""
    look = _look(directory)
    found = look.found()
    plan = plan_member(found, listed=listed)
    kept = []
    if plan.log is not Step.KEEP:
        flags = {NON_VOTING_FLAG: new_flag_id()} if plan.non_voting else {}
        if plan.log is Step.RENEW:
            kept += directory.set_log_aside()
        LogStore.create(directory.log, directory.witness, flags)
    if plan.state is not Step.KEEP:
        if plan.state is Step.RENEW:
            kept.append(directory.set_aside(directory.state.name))
        StateStore.create(directory.state)
    # What was checked a moment ago and stays is opened as it was checked.
    kept_log = look.log if plan.log is Step.KEEP else None
    kept_state = look.state if plan.state is Step.KEEP else None
    assert not isinstance(kept_log, DataDamaged)
    assert not isinstance(kept_state, DataDamaged)
    log = directory.open_log(kept_log)
    try:
        state = StateStore.open_checked(kept_state or StateStore.check(directory.state))
    except BaseException:
        log.close()
        raise
    losses = _losses(directory, look, found, plan.log)
    places = f" (kept: {', '.join(map(str, kept))})" if kept else ""
    follows = (
        "the node does not vote until it has caught up"
        if plan.log is Step.RENEW
        else "the log builds the state again"
    )
    return MemberStores(log, state, f"{'; '.join(losses)}{places}; {follows}" if losses else "")


def _look(directory: DataDirectory) -> _Look:
    """Check both; nothing is changed. Raises NewerFormat, StorageFailed."""
    log: CheckedLog | DataDamaged | None = None
    state: CheckedState | DataDamaged | None = None
    try:
        if not is_missing_or_empty(directory.state):
            state = _check_state(directory)
        created = directory.identity.log_created
        if created or not never_written(directory.log, directory.witness):
            log = _check_log(directory)
    except OSError as error:
        raise StorageFailed(f"looking at {directory.path} failed: {error}") from error
    return _Look(log, state)


def _check_state(directory: DataDirectory) -> CheckedState | DataDamaged:
    try:
        return StateStore.check(directory.state)
    except DataDamaged as damage:
        return damage


def _check_log(directory: DataDirectory) -> CheckedLog | DataDamaged:
    try:
        return LogStore.check(directory.log, directory.witness, directory.recovery)
    except DataDamaged as damage:
        return damage


def _losses(directory: DataDirectory, look: _Look, found: Found, log: Step) -> list[str]:
    """What was lost, each in a few words. A state that is missing beside an empty log was never
    there, or its loss was told with the log's."""
    losses = []
    if isinstance(look.log, DataDamaged):
        losses.append(str(look.log))
    elif look.log is None and look.state is not None:
        losses.append(f"the log {directory.log} is gone, though there is a state")
    if isinstance(look.state, DataDamaged):
        losses.append(str(look.state))
    elif look.state is None and found.last:
        losses.append(f"the state {directory.state} is gone")
    if found.lost_end:
        losses.append(
            f"the log {directory.log} ends at entry {found.last}, though the state was written "
            f"at entry {found.index}"
        )
    if found.gap and not isinstance(look.state, DataDamaged):
        losses.append(
            f"the state {directory.state} ends at entry {found.index}, and the log starts at "
            f"{found.first}"
        )
    elif found.gap:
        losses.append(f"the log starts at {found.first} and cannot build it again")
    return losses
