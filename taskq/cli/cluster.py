"""`taskq cluster`: who is there, who leads, handing over the lead; the rest has its own files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from taskq.cli import exits
from taskq.cli.command import CommandGroup, Failure, cluster_options, connected, report, sentence
from taskq.cli.members import add_member, remove_member, replace_member
from taskq.cli.output import note, print_json, print_json_line, print_text, show
from taskq.cli.quantity import count_text, duration_text, list_text, size_text
from taskq.cli.recover import examine_command, recover_command
from taskq.cli.upgrade import level_text, upgrade_cluster
from taskq.client import Client
from taskq.commands import GetCluster, TransferLeadership
from taskq.errors import ConnectionFailed, OutcomeUnknown, TaskqError, Unavailable
from taskq.quorum import COUNTED, OUTSIDE, REMEDY, majority, missing, voters
from taskq.results import ClusterStatus, MemberRole, MemberView

# How long the leader may take to answer before the view of the node at hand is shown. Seconds.
LEADER_TIMEOUT_SECS = 2.0
WATCH_SECS = 1.0
# How a node begins that says of itself that it was not added; the others may know better by now.
NO_MEMBER_YET = "no member yet"
_CLEAR = "\x1b[H\x1b[2J"

_ROLE_STYLES = {
    MemberRole.LEADER: "bold green",
    MemberRole.FOLLOWER: "green",
    MemberRole.CANDIDATE: "yellow",
    MemberRole.NON_VOTING: "yellow",
    MemberRole.FOUNDING: "yellow",
    MemberRole.LEARNER: "yellow",
    MemberRole.REMOVED: "red",
    MemberRole.UNREACHABLE: "red",
}


@click.group("cluster", cls=CommandGroup)
def cluster_command() -> None:
    """Show the members, hand over the lead, add and remove members, finish an upgrade."""


for command in (
    *(add_member, remove_member, replace_member),
    *(upgrade_cluster, examine_command, recover_command),
):
    cluster_command.add_command(command)


@cluster_command.command("status")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@cluster_options
@click.pass_context
def cluster_status(
    ctx: click.Context, watch: bool, url: str | None, request_timeout: float, as_json: bool
) -> None:
    """Show members, leader, term, and how far each has come.

    Any node answers, also while nobody leads; the exit code is then 1. With --watch and --json,
    one JSON document a line.
    """
    with connected(url, request_timeout) as client:
        if watch:
            _watch_json(client) if as_json else _watch(client)
        status = ask(client)
    if as_json:
        print_json(document_of(status))
    else:
        show(*drawn(status))
    ctx.exit(exits.OK if status.leader else exits.FAILED)


@cluster_command.command("transfer")
@click.argument("node", default="")
@cluster_options
def transfer_lead(node: str, url: str | None, request_timeout: float, as_json: bool) -> None:
    """Hand the lead to NODE, or to the member that has come farthest.

    No request fails meanwhile. Ends when another node leads.
    """
    with connected(url, request_timeout) as client:
        if node:
            _check_target(node, ask(client))
        done = client.call(TransferLeadership(node))
    if as_json:
        print_json(done)
    else:
        print_text(f"{done.leader} leads now (term {done.term}).")


def _check_target(node: str, status: ClusterStatus) -> None:
    """Raises Failure for a node that cannot lead."""
    members = [MemberView(*member) for member in status.members]
    found = [member.role for member in members if member.node_id == node]
    if not found:
        names = list_text(member.node_id for member in members)
        raise Failure(f"{node} is no member of the cluster; the members are {names}.")
    if found[0] in (MemberRole.UNREACHABLE, MemberRole.NON_VOTING, *OUTSIDE):
        raise Failure(f"{node} cannot lead now: it is {found[0]}.")


def ask(client: Client) -> ClusterStatus:
    """What the leader knows, or else what the node knows that answers; one that was removed is
    shown beside the members, which know more. Raises TaskqError."""
    near: ClusterStatus = client.call(GetCluster(stale=True))
    removed = _removed(near)
    if removed is None and near.leader in ("", near.node_id):
        return _up_to_date(near)
    try:
        far: ClusterStatus = client.call(GetCluster(), LEADER_TIMEOUT_SECS)
    except (Unavailable, ConnectionFailed, OutcomeUnknown):
        if removed is None:
            return _up_to_date(near)
        far = _of_another(client, near)
    if removed is not None and all(one[0] != removed.node_id for one in far.members):
        far = far._replace(members=[*far.members, removed])
    return _up_to_date(far)


def _removed(status: ClusterStatus) -> MemberView | None:
    """The node that answered, where it is no member any more."""
    for one in status.members:
        view = MemberView(*one)
        if view.node_id == status.node_id and view.role == MemberRole.REMOVED:
            return view
    return None


def _of_another(client: Client, near: ClusterStatus) -> ClusterStatus:
    """What any other node knows, to which the client has turned from one that serves nobody."""
    try:
        other: ClusterStatus = client.call(GetCluster(stale=True))
    except (Unavailable, ConnectionFailed, OutcomeUnknown):
        return near
    return other


def _up_to_date(status: ClusterStatus) -> ClusterStatus:
    """Without what a node said of itself before it was added: who is a member the rest decide."""
    members = [MemberView(*one) for one in status.members]
    return status._replace(
        members=[
            one._replace(state="")
            if one.role not in OUTSIDE and one.state.startswith(NO_MEMBER_YET)
            else one
            for one in members
        ]
    )


def document_of(status: ClusterStatus) -> dict[str, Any]:
    """For `--json`: times in seconds, as everywhere on the command line."""
    document = status._asdict()
    document["cluster_time"] = document.pop("elapsed_ms") / 1000
    members = [MemberView(*member)._asdict() for member in status.members]
    for member in members:
        heard = member.pop("heard_ms_ago")
        member["heard_secs_ago"] = None if heard is None else heard / 1000
    document["members"] = members
    return document


def drawn(status: ClusterStatus) -> list[Any]:
    """The status for people: what matters in a sentence, the cluster, and a row for each member."""
    from taskq.cli.table import pairs, table

    members = [MemberView(*member) for member in status.members]
    facts = [
        ("cluster", status.cluster_id or "being founded"),
        ("leader", f"{status.leader}, term {status.term}" if status.leader else "none"),
        ("asked", status.node_id),
        ("committed", f"entry {count_text(status.commit_index)}"),
        ("cluster time", duration_text(status.elapsed_ms / 1000)),
        ("level", level_text(status, members)),
    ]
    columns = (
        *("node", "role", "address", "version", "log", "applied", "lag", "heard"),
        *("free", "log size", ""),
    )
    numbers = ("log", "applied", "lag", "heard", "free", "log size")
    return [
        pairs("Cluster", facts),
        "",
        table(
            *("Members", columns, [_row(one) for one in members]),
            numbers=numbers,
            keep=("node", "role"),
            spare=("log", "log size", "address", "free", "applied", "version"),
        ),
        verdict(status, members),
        *(
            _counts_for_nothing(one)
            for one in members
            if one.role == MemberRole.REMOVED and one.node_id != status.node_id
        ),
    ]


def _row(member: MemberView) -> tuple[Any, ...]:
    from rich.text import Text

    styles: dict[str, str] = {role.value: style for role, style in _ROLE_STYLES.items()}
    return (
        member.node_id,
        Text(member.role, style=styles.get(member.role, "")),
        member.address,
        member.version,
        _known(member.match_index, count_text),
        _known(member.applied_index, count_text),
        _known(member.lag, count_text),
        _known(member.heard_ms_ago, lambda ms: f"{duration_text(ms / 1000)} ago"),
        _known(member.free_bytes, size_text),
        _known(member.log_bytes, size_text),
        member.state,
    )


def _known(value: int | None, as_text: Callable[[int], str]) -> str:
    return "" if value is None else as_text(value)


def verdict(status: ClusterStatus, members: list[MemberView]) -> str:
    """Whether the cluster serves, and how much more it can lose, in a sentence."""
    own = next((one for one in members if one.node_id == status.node_id), None)
    if own is not None and own.role in OUTSIDE:
        return _counts_for_nothing(own)
    count, needed = len(voters(members)), majority(members)
    serving = sum(member.role in COUNTED for member in members)
    present = f"{serving} of {count} members" if serving < count else f"All {count} members"
    if count == 1 and serving:
        present = "The only member"
    if not status.cluster_id:
        return "The cluster is being founded: it serves once all founding members were there."
    if not status.leader:
        gone = missing(members)
        absent = f" Missing: {gone}." if gone else ""
        return (
            f"NOBODY LEADS: requests wait. {present} can be counted on; {needed} must reach each "
            f"other for one of them to lead.{absent}{f' {REMEDY}' if serving < needed else ''}"
        )
    spare = serving - needed
    verb = "serves" if count == 1 else "serve"
    if spare < 1:
        loss = "the loss of another one" if serving < count else "the loss of one"
        return f"{present} {verb}; {'its loss' if count == 1 else loss} stops the cluster."
    how_many = "one" if spare == 1 else spare
    return f"{present} {verb}; the cluster goes on without any {how_many} of them."


def _counts_for_nothing(member: MemberView) -> str:
    return f"{member.node_id} counts for nothing: {member.state or member.role}."


def _watch_json(client: Client) -> None:
    """One line for each look, an error in its place. Ends with Ctrl-C."""
    while True:
        try:
            print_json_line(document_of(ask(client)))
        except TaskqError as error:
            report(error, as_json=True)
        time.sleep(WATCH_SECS)


def _watch(client: Client) -> None:
    """Shows it again and again; an error is shown in its place. Ends with Ctrl-C."""
    clear = _CLEAR if sys.stdout.isatty() else ""
    while True:
        try:
            parts = drawn(ask(client))
        except TaskqError as error:
            parts = [sentence(error)]
        sys.stdout.write(clear)
        show(*parts)
        if not clear:
            note("")
        time.sleep(WATCH_SECS)
