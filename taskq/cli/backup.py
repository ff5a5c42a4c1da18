"""`taskq backup`: takes a backup of a running cluster, checks one, makes a data folder of one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from taskq.backup.contents import Contents
from taskq.backup.file_format import Head
from taskq.backup.reading import BackupReader
from taskq.backup.writing import BackupWriter
from taskq.cli.command import CommandGroup, Failure, cluster_options, json_option
from taskq.cli.output import note, print_json, print_text, show
from taskq.cli.process import require_broker
from taskq.cli.progress import Step, progress
from taskq.cli.quantity import count_text, duration_text, size_text
from taskq.client.backup import BackupSource, open_backup
from taskq.limits import MIB

STDOUT = "-"
# Less is done before anybody has seen the bar. MiB.
SHOWN_MIN = 16


@click.group("backup", cls=CommandGroup)
def backup_command() -> None:
    """Take a backup of a running cluster, check it, restore it."""


@backup_command.command("create")
@click.argument("file")
@click.option("--node", default="", metavar="NODE", help="Read this node: its id or host:port.")
@click.option(
    "--stale",
    is_flag=True,
    help="Take what the node's disk has now, without asking the leader: also while nobody leads.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@cluster_options
def create_backup(
    file: str,
    node: str,
    stale: bool,
    overwrite: bool,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Write the state of the cluster to FILE, or with - to standard output.

    It holds everything that was acknowledged before. Read from a follower where there is one; the
    cluster goes on meanwhile. FILE is there once it is whole, and readable by you alone: it holds
    all payloads and results.
    """
    path = None if file == STDOUT else Path(file)
    if path is None and sys.stdout.isatty():
        raise Failure("a backup is not for a terminal: give a file, or send it to a program")
    document = asyncio.run(_fetch(path, url, node, stale, overwrite, request_timeout))
    if path is None:
        note(f"{size_text(document['size'])}, entry {count_text(document['index'])}")
    elif as_json:
        print_json({"file": str(path), **document})
    else:
        show(_facts(f"Backup {path}", document))


async def _fetch(
    path: Path | None,
    url: str | None,
    node: str,
    stale: bool,
    overwrite: bool,
    request_timeout: float,
) -> dict[str, Any]:
    with BackupWriter(path, overwrite=overwrite) as writer:
        source = await open_backup(url, node=node, stale=stale, timeout=request_timeout)
        async with source:
            writer.begin(source.head)
            await _copy(source, writer)
        sha256 = writer.finish()
    return _document(source.head) | {"size": writer.size, "sha256": sha256}


async def _copy(source: BackupSource, writer: BackupWriter) -> None:
    """Chunk by chunk, with a bar in MiB; how much it will be is known about."""
    total = max(1, source.size // MIB)
    with _progress(total) as step:
        async for chunk in source.chunks():
            writer.add(chunk)
            step("MiB", min(writer.size // MIB, total))
        step("MiB", total)


@backup_command.command("verify")
@click.argument("file")
@json_option
def verify_backup(file: str, as_json: bool) -> None:
    """Read all of FILE (- for standard input), check every sum, and count the tasks in it."""
    with _opened(file) as stream:
        reader = BackupReader(stream)
        contents = Contents()
        total = max(1, Path(file).stat().st_size // MIB) if file != STDOUT else 1
        with _progress(total) as step:
            for chunk in reader.chunks():
                contents.add(chunk)
                step("MiB", min(reader.size // MIB, total))
            step("MiB", total)
        contents.check()
    document = _document(reader.head) | {
        "size": reader.size,
        "sha256": reader.sha256,
        "tasks": contents.tasks,
        "states": contents.states,
        "queues": contents.queues,
        "workers": contents.workers,
        "cluster_time": contents.elapsed_ms / 1000,
    }
    if as_json:
        print_json({"file": file, "whole": True, **document})
    else:
        show(_facts(f"Backup {file}: whole", document))


@backup_command.command("restore")
@click.argument("file")
@click.option(
    "--data-dir",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where to make the data folder: missing or empty so far.",
)
@click.option(
    "--node-id", default="node1", show_default=True, help="The node's raft.node_id.", metavar="ID"
)
@click.option(
    "--form",
    type=click.Choice(["cluster", "single"]),
    help="For raft.enabled true or false. Default: cluster if the backup is of more than one node.",
)
@json_option
def restore_backup(
    file: str, data_dir: Path, node_id: str, form: str | None, as_json: bool
) -> None:
    """Make the data folder of a new cluster from FILE (- for standard input).

    Nothing is overwritten. The new cluster has one member, this node; others join it by `taskq
    cluster add`. It goes on from where the backup was taken: what was done later is done again.
    """
    require_broker("backup restore")
    from cluster.replication.offline.restoring import restore

    with _opened(file) as stream:
        reader = BackupReader(stream)
        member = form == "cluster" if form else reader.head.member_count > 1
        total = max(1, Path(file).stat().st_size // MIB) if file != STDOUT else 1
        with _whole_or_none(data_dir.absolute()) as folder, _progress(total) as step:
            done = restore(
                reader,
                folder,
                node_id,
                member=member,
                on_progress=lambda size: step("MiB", min(size // MIB, total)),
            )
            step("MiB", total)
    document = {
        "data_dir": str(data_dir),
        "node_id": node_id,
        "cluster_id": done.cluster_id,
        "raft_enabled": member,
        "backup_cluster_id": done.head.cluster_id,
        "index": done.head.index,
        "tasks": done.contents.tasks,
        "states": done.contents.states,
    }
    if as_json:
        print_json(document)
        return
    print_text(
        f"{data_dir} holds {count_text(done.contents.tasks)} tasks, as of entry "
        f"{count_text(done.head.index)}; it is the new cluster {done.cluster_id}."
    )
    print_text(
        f"Start it with persistence.data_dir: {data_dir}, raft.node_id: {node_id}, "
        f"raft.enabled: {str(member).lower()}."
    )


@contextmanager
def _whole_or_none(folder: Path) -> Iterator[Path]:
    """What is begun in it, and not finished, is removed again. Raises Failure in words of the
    disk."""
    from cluster.storage.errors import FolderInUse, NotEmpty, StorageError, Unfinished
    from cluster.storage.new_folder import discard_folder

    there = folder.exists()
    try:
        yield folder
    except (FolderInUse, NotEmpty, Unfinished) as error:
        raise Failure(str(error)) from error
    except BaseException as error:
        # What cannot be removed is refused by every node, in words that say what to do.
        with contextlib.suppress(OSError, StorageError):
            discard_folder(folder, "the restore", keep=there)
        if isinstance(error, StorageError):
            raise Failure(str(error)) from error
        raise


@contextmanager
def _progress(total: int) -> Iterator[Step]:
    """A bar in MiB, where it is worth one."""
    if total < SHOWN_MIN:
        yield lambda label, count: None
    else:
        with progress(["MiB"], total) as step:
            yield step


def _opened(file: str) -> BinaryIO:
    return sys.stdin.buffer if file == STDOUT else open(file, "rb")


def _document(head: Head) -> dict[str, Any]:
    taken = datetime.fromtimestamp(head.wall_ms / 1000, UTC)
    return {
        "cluster_id": head.cluster_id,
        "node_id": head.node_id,
        "server_version": head.server_version,
        "index": head.index,
        "term": head.terms[1],
        "stale": head.stale,
        "taken": taken,
    }


def _facts(title: str, document: dict[str, Any]) -> Any:
    """A backup for people."""
    from taskq.cli.table import pairs

    rows = [
        ("cluster", document["cluster_id"]),
        ("read from", f"{document['node_id']}, taskq {document['server_version']}"),
        ("taken", document["taken"].isoformat(timespec="seconds").replace("+00:00", "Z")),
        ("at", f"entry {count_text(document['index'])}, term {document['term']}"),
        ("stale", "may lack what was acknowledged last" if document["stale"] else ""),
        ("size", size_text(document["size"])),
        ("SHA-256", document["sha256"]),
    ]
    if "states" in document:
        rows += [
            ("cluster time", duration_text(document["cluster_time"])),
            ("queues", count_text(document["queues"])),
            ("workers", count_text(document["workers"])),
            ("tasks", count_text(document["tasks"])),
            *(
                (f"  {name}", count_text(count))
                for name, count in document["states"].items()
                if count
            ),
        ]
    return pairs(title, rows)
