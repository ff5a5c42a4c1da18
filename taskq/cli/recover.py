"""`taskq cluster examine` and `recover`: most nodes are lost for good, and one goes on alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.command import Command, Failure, json_option
from taskq.cli.output import note, print_json, print_text, show
from taskq.cli.process import require_broker
from taskq.cli.quantity import count_text, list_text
from taskq.visible import visible

if TYPE_CHECKING:
    from cluster.replication.offline.looking import Findings


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("examine", cls=Command)
@click.option(
    "--data-dir",
    "folders",
    required=True,
    multiple=True,
    metavar="DIR",
    type=FOLDER,
    help="Data folder of a stopped node. May be given more than once.",
)
@json_option
def examine_command(folders: tuple[Path, ...], as_json: bool) -> None:
    """Show how far stopped nodes have come, and which of them has most.

    Nothing is changed. For when most members are lost for good, see `taskq cluster recover`.
    """
    require_broker("cluster examine")
    found = [_examine(folder) for folder in folders]
    best = max(found, key=lambda one: one.rank)
    if as_json:
        print_json({"folders": [_document(one) for one in found], "most": best.node_id})
        return
    from taskq.cli.table import table

    columns = ("node", "last entry", "its term", "committed", "cluster", "members", "")
    rows = [
        (
            one.node_id,
            count_text(one.last_index),
            one.last_term,
            count_text(one.commit_index),
            one.cluster_id,
            list_text(sorted(one.members)),
            "; ".join((*one.trouble, *one.warnings)),
        )
        for one in found
    ]
    numbers = ("last entry", "its term", "committed")
    show(table("Data folders", columns, rows, numbers=numbers, keep=("node", "cluster")))
    if len({one.cluster_id for one in found}) > 1:
        note("These folders are not of one cluster: they cannot be compared.")
    elif len(found) > 1:
        print_text(f"{best.node_id} has most: the highest term of a last entry, then its index.")


@click.command("recover", cls=Command)
@click.option(
    "--data-dir",
    "folder",
    required=True,
    metavar="DIR",
    type=FOLDER,
    help="Data folder of a stopped node.",
)
@click.option("--accept-loss", is_flag=True, help="Needed: what only the lost nodes held is gone.")
@click.option("--node-id", metavar="ID", help="The node's id, instead of typing it when asked.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def recover_command(
    folder: Path, accept_loss: bool, node_id: str | None, yes: bool, as_json: bool
) -> None:
    """Let one stopped node go on alone, after most members were lost for good.

    It becomes the only member of a new cluster, with everything that its own log holds. What was
    acknowledged and is only on the lost nodes is gone. The old members can never come back: start
    them with empty folders and `taskq cluster add` them.
    """
    require_broker("cluster recover")
    from cluster.replication.offline.recovering import obstacles, recover
    from cluster.storage.errors import StorageError

    found = _examine(folder)
    lines = _explain(found)
    if not as_json:
        for line in lines:
            print_text(line)
    problems = list(obstacles(found))
    if problems:
        raise Failure(f"Nothing was changed: {'; '.join(problems)}")
    if not accept_loss:
        raise Failure("Nothing was changed. With --accept-loss it is done.")
    if not _agreed(found, node_id, yes):
        raise Failure(f"Nothing was changed: that is not {found.node_id}, whose folder this is.")
    try:
        done = recover(folder.absolute())
    except StorageError as error:
        raise Failure(str(error)) from error
    if as_json:
        document = {"findings": lines, "before": _document(done.before)}
        print_json(document | {"cluster_id": done.cluster_id, "kept": str(done.kept)})
        return
    print_text(f"{found.node_id} is the only member of the new cluster {done.cluster_id}.")
    print_text("Start it as before. The others: empty their data folders, start them with this")
    print_text("node in raft.peers, and add each with `taskq cluster add`.")


def _examine(folder: Path) -> Findings:
    from cluster.replication.offline.looking import examine
    from cluster.storage.errors import StorageError

    try:
        return examine(folder.absolute())
    except StorageError as error:
        raise Failure(str(error)) from error


def _explain(found: Findings) -> list[str]:
    others = sorted(set(found.members) - {found.node_id})
    unsure = found.last_index - found.commit_index
    lines = [
        f"{found.node_id} of cluster {found.cluster_id or '(none)'} holds everything up to entry "
        f"{count_text(found.last_index)}, term {found.last_term}.",
        f"Members: {list_text(sorted(found.members))}. Recovering leaves {found.node_id} alone, in "
        f"a new cluster{f'; {list_text(others)} can never come back to it' if others else ''}.",
    ]
    if unsure > 0:
        lines.append(
            f"{count_text(unsure)} of these entries may not have been acknowledged; they are kept."
        )
    lines.append(
        "What was acknowledged above that entry, or instead of those, by the other members is lost."
    )
    return [*lines, *(f"NB: {warning}." for warning in found.warnings)]


def _agreed(found: Findings, node_id: str | None, yes: bool) -> bool:
    if node_id is not None:
        return node_id == found.node_id
    if yes:
        return True
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"Type the node's id, {visible(found.node_id)}, to go on: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == found.node_id


def _document(found: Findings) -> dict[str, Any]:
    return {
        "data_dir": str(found.path),
        "node_id": found.node_id,
        "cluster_id": found.cluster_id,
        "last_index": found.last_index,
        "last_term": found.last_term,
        "commit_index": found.commit_index,
        "state_index": found.state_index,
        "members": found.members,
        "trouble": list(found.trouble),
        "warnings": list(found.warnings),
    }
