"""`taskq repair`: shows what can be kept of a damaged data folder, asks, and does it."""

from __future__ import annotations

from pathlib import Path

import click

from taskq.cli import skip_entry as skip
from taskq.cli.command import Command, Failure, json_option
from taskq.cli.output import ask, note, print_json, print_text
from taskq.cli.process import require_broker


@click.command("repair", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask, if nothing acknowledged is lost.")
@click.option("--accept-loss", is_flag=True, help="Do not ask, even if something is lost.")
@click.option("--dry-run", is_flag=True, help="Only look.")
@click.option(
    "--skip-entry",
    type=click.IntRange(2),
    metavar="INDEX",
    help="Leave out this entry of the log, which stops every node. The same on all nodes.",
)
@json_option
def repair_command(
    folder: Path,
    yes: bool,
    accept_loss: bool,
    dry_run: bool,
    skip_entry: int | None,
    as_json: bool,
) -> None:
    """Repair the data folder of a stopped node.

    Shows what is damaged and what can be kept, and asks before anything is changed. The original
    files are set aside, never deleted.
    """
    require_broker("repair")
    from cluster.storage.errors import StorageError
    from cluster.storage.repair import examine, repair

    if not folder.is_dir():
        raise Failure(f"{folder} is not a folder.")
    folder = folder.absolute()
    try:
        if skip_entry is not None:
            skip.skip_entry(folder, skip_entry, accepted=accept_loss, as_json=as_json)
            return
        found = examine(folder)
        lines = found.lines()
        if not as_json:
            for line in lines:
                print_text(line)
        document = {"healthy": found.healthy, "lossless": found.lossless, "findings": lines}
        if found.healthy or dry_run:
            if as_json:
                print_json(document | {"repaired": False, "set_aside": []})
            else:
                print_text("Nothing to repair." if found.healthy else "Nothing was changed.")
            return
        if not _agreed(found.lossless, yes, accept_loss):
            raise Failure(
                "Nothing was changed; --yes goes on where nothing is lost, --accept-loss always."
            )
        done = repair(folder, accept_loss=not found.lossless)
    except StorageError as error:
        raise Failure(str(error)) from error
    set_aside = [str(path) for path in done.set_aside]
    if as_json:
        print_json(document | {"repaired": True, "set_aside": set_aside})
        return
    print_text("Repaired.")
    for path in set_aside:
        print_text(f"The original is now {path}")


def _agreed(lossless: bool, yes: bool, accept_loss: bool) -> bool:
    if accept_loss or (lossless and yes):
        return True
    if not lossless:
        note("This loses data that was acknowledged (see above).")
    return ask("Repair the folder?" if lossless else "Repair the folder and accept the loss?")
