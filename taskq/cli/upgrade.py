"""`taskq cluster upgrade`: raises the feature level, the last step of a rolling upgrade; and what
`taskq cluster status` says of levels and versions."""

from __future__ import annotations

from collections.abc import Sequence

import click

from taskq.cli.command import Command, Failure, cluster_options, connected
from taskq.cli.output import ask as ask_person
from taskq.cli.output import print_json, print_text
from taskq.cli.quantity import list_text
from taskq.commands import GetCluster, UpgradeCluster
from taskq.levels import LEVEL_LIMIT
from taskq.results import ClusterStatus, MemberView


@click.command("upgrade", cls=Command)
@click.option(
    "--level",
    type=click.IntRange(1, LEVEL_LIMIT),
    help="Raise it to this one. Default: the highest that all members can run.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def upgrade_cluster(
    level: int | None, yes: bool, url: str | None, request_timeout: float, as_json: bool
) -> None:
    """Raise the feature level, when every node runs the new version.

    The last step of a rolling upgrade: until then the cluster does nothing that the old version
    cannot do, and every node may go back to it. There is no way back from here: nodes of the old
    version refuse to start from now on.
    """
    with connected(url, request_timeout) as client:
        status: ClusterStatus = client.call(GetCluster())
        target = level or status.level_possible
        if target > status.level and not yes:
            question = f"Raise the feature level from {status.level} to {target}, for good?"
            if not ask_person(question):
                raise Failure("Nothing was changed; --yes raises it without asking.")
        done = client.call(UpgradeCluster(level or 0))
    if as_json:
        print_json(done)
    elif done.level == done.before:
        print_text(f"The cluster is at feature level {done.level}; nothing to do.")
    else:
        print_text(f"The cluster is at feature level {done.level} now (it was {done.before}).")


def level_text(status: ClusterStatus, members: Sequence[MemberView]) -> str:
    """The level, and what may be done about it."""
    told = f"{status.level}"
    silent = [member.node_id for member in members if not member.version]
    if not status.level_possible and silent:
        return f"{told} ({list_text(silent)} not heard from)"
    if status.level_possible > status.level:
        return f"{told}; all members can {status.level_possible}: taskq cluster upgrade"
    highest = max((member.level_max or 0 for member in members), default=0)
    if highest > status.level:
        older = [one.node_id for one in members if (one.level_max or 0) < highest]
        return f"{told}; {list_text(older)} cannot run {highest} yet"
    return told
