"""Makes a data folder of a backup file: a new cluster, which goes on from where the state is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.replication.offline.alone import entries_alone, identity_alone, stand_ins
from cluster.storage.errors import FolderRefused
from cluster.storage.new_folder import NewFolder
from taskq.backup.contents import Contents
from taskq.backup.file_format import Head
from taskq.backup.reading import BackupReader
from taskq.levels import LEVEL_MAX, LEVEL_MIN


@dataclass(frozen=True)
class Restored:
    """What was made."""

    head: Head
    contents: Contents
    cluster_id: str
    member: bool


def restore(
    reader: BackupReader,
    path: Path,
    node_id: str,
    *,
    member: bool,
    on_progress: Callable[[int], None] = lambda size: None,
) -> Restored:
    """A folder at `path`, missing or empty so far, for node `node_id`: the only member of a cluster
    (`member`, for raft.enabled: true), or a group of one.

    `on_progress(bytes read)`. Raises NotEmpty, NotWhole for a file that is damaged, FolderRefused
    for one that this version cannot go on from, StorageFailed. What was begun is then refused by
    every node, until it is removed.
    """
    head, contents = reader.head, Contents()
    folder = NewFolder(path, "the restore")
    try:
        state = folder.begin_state(head.index, head.terms, head.digest)
        for chunk in reader.chunks():
            contents.add(chunk)
            state.add(chunk)
            on_progress(reader.size)
        contents.check()
        if not LEVEL_MIN <= contents.level <= LEVEL_MAX:
            raise FolderRefused(
                f"the backup is of feature level {contents.level}, and this version runs levels "
                f"{LEVEL_MIN} to {LEVEL_MAX}: use the version that made it, or a later one"
            )
        identity = identity_alone(node_id, member=member)
        last = head.index, head.terms[1]
        stamps = contents.elapsed_ms, contents.wall_ms
        entries = [
            *stand_ins(head.index, head.terms),
            *entries_alone(node_id, "", last, stamps),
        ]
        folder.finish(identity, entries, head.terms[1] + 1)
        return Restored(head, contents, identity.cluster_id, member)
    finally:
        folder.close()
