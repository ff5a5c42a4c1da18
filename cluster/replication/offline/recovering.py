"""The quorum is lost for good: one survivor goes on as the only member of a new cluster.

Everything that its log holds is kept, whether it was committed or not: what it held and the client
was told is there. What only the lost nodes held is gone, and nobody can say what that was.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.replication.offline.alone import entries_alone, identity_alone, stand_ins
from cluster.replication.offline.looking import Findings, examine
from cluster.storage.audit_file import note_act
from cluster.storage.errors import FolderRefused, StorageFailed
from cluster.storage.files import SET_ASIDE, free_name, make_directory, sync_directory, sync_tree
from cluster.storage.identity import IDENTITY_NAME, write_identity
from cluster.storage.lock import FolderLock
from cluster.storage.log_end import end_log
from cluster.storage.swap import finish_swap, put_received
from cluster.storage.unfinished import marked, put_mark, remove_mark
from cluster.storage.unsynced import UnsyncedMark

ACT = "the recovery"
_REMEDY = "run `taskq cluster recover` on it again"
_SMALL_FILES = (IDENTITY_NAME, "witness")


@dataclass(frozen=True)
class Recovered:
    """What was done. `kept`: where copies of the small files are."""

    before: Findings
    cluster_id: str
    kept: Path


def obstacles(found: Findings) -> Iterator[str]:
    """Why a folder is not one to recover from, one sentence each."""
    if not found.member:
        yield (
            f"{found.node_id} is a group of one: it has lost nobody, and starts as it is "
            "(`taskq repair` is for damage)"
        )
    elif not found.cluster_id:
        yield f"{found.node_id} does not belong to a cluster yet: it holds nothing"
    for problem in found.trouble:
        yield f"{problem}; `taskq repair` first, or choose another node"
    if marked(found.path) not in ("", ACT):
        yield f"{marked(found.path)} of {found.path} did not come to its end"


def recover(path: Path) -> Recovered:
    """Makes the node of this folder the only member of a new cluster. Killed in between, it is
    refused by every node, and this is to be called again.

    Raises FolderRefused where `obstacles` has something to say, and what `examine` raises.
    """
    before = examine(path)
    problems = list(obstacles(before))
    if problems:
        raise FolderRefused("; ".join(problems))
    try:
        lock = FolderLock(path)
        try:
            return _recover(before)
        finally:
            lock.release()
    except OSError as error:
        raise StorageFailed(f"recovering {path} failed: {error}") from error


def _recover(before: Findings) -> Recovered:
    path = before.path
    kept = _keep_small_files(path)
    put_mark(path, ACT, _REMEDY)
    finish_swap(path / "log")
    finish_swap(path / "state")
    put_received(path / "state")
    identity = identity_alone(before.node_id, member=True).with_log()
    address = before.members.get(before.node_id, "")
    end_log(
        path,
        lambda last: entries_alone(before.node_id, address, last, before.stamps),
        stand_ins,
    )
    write_identity(path / IDENTITY_NAME, identity)
    UnsyncedMark(path).remove()
    note_act(
        path,
        "recover",
        node=before.node_id,
        cluster_before=before.cluster_id,
        cluster=identity.cluster_id,
        last_index=before.last_index,
        last_term=before.last_term,
        commit_index=before.commit_index,
        members_before=sorted(before.members),
        kept=str(kept),
    )
    remove_mark(path)
    return Recovered(before, identity.cluster_id, kept)


def _keep_small_files(path: Path) -> Path:
    folder = path / SET_ASIDE
    make_directory(folder)
    kept = free_name(folder, "before-recovery")
    kept.mkdir()
    for name in _SMALL_FILES:
        if (path / name).exists():
            shutil.copy2(path / name, kept / name)
    sync_tree(kept)
    sync_directory(folder)
    return kept
