"""`taskq cluster add`, `remove` and `replace`: asks again and again until it is done."""

from __future__ import annotations

import time
from typing import Any

import click

from taskq.cli import exits
from taskq.cli.command import DURATION, Command, Failure, cluster_options, connected
from taskq.cli.output import note, print_json, print_text
from taskq.cli.quantity import count_text, duration_text, list_text
from taskq.client import Client
from taskq.commands import AddMember, RemoveMember
from taskq.errors import ConnectionFailed, ErrorCode, NotFound, OutcomeUnknown, Unavailable
from taskq.results import ChangeStage, MemberChange

AGAIN_SECS = 0.3
# Progress is told when it changed, at most so often. Seconds.
TELL_SECS = 1.0
PATIENCE = "10m"
# So long nobody may lead: an election takes a few seconds, a restart of all nodes a few more.
LEADERLESS_SECS = 30.0
NO_LEADER = (
    "Nobody leads, so members cannot be changed: `taskq cluster status` says who is missing."
)
# Stands for a part of raft.peers that the cluster does not know.
PLACE = "HOST:PORT"

patience_option = click.option(
    "--timeout",
    "patience",
    type=DURATION,
    default=PATIENCE,
    show_default=True,
    help="Give up after so long; what has begun may still come to its end.",
)


@click.command("add", cls=Command)
@click.argument("node")
@click.argument("address")
@patience_option
@cluster_options
def add_member(
    node: str, address: str, patience: float, url: str | None, request_timeout: float, as_json: bool
) -> None:
    """Make NODE, whose Raft port is at ADDRESS (host:port), a member.

    Start it first: with an empty data folder, raft.enabled, and raft.peers naming members and
    itself. It is given the log while the cluster goes on, and is added when it has caught up.
    """
    with connected(url, request_timeout) as client:
        done = _insist(client, AddMember(node, address), patience)
    _tell(done, f"{node} is a member now", as_json)
    if not as_json:
        print_text(_advice(done))


@click.command("remove", cls=Command)
@click.argument("node")
@patience_option
@cluster_options
def remove_member(
    node: str, patience: float, url: str | None, request_timeout: float, as_json: bool
) -> None:
    """Take NODE out of the members, or end its adding.

    Refused where those that are left would have no majority. A leader hands over first. A node that
    was removed serves nobody; stop it when you like.
    """
    with connected(url, request_timeout) as client:
        done = _insist(client, RemoveMember(node), patience)
    _tell(done, f"{node} is no member now", as_json)


@click.command("replace", cls=Command)
@click.argument("old")
@click.argument("new")
@click.argument("address")
@patience_option
@cluster_options
def replace_member(
    old: str,
    new: str,
    address: str,
    patience: float,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Put NEW, at ADDRESS, in the place of OLD: add the one, then remove the other.

    OLD may be gone for good. A NEW that was added stays, should the removal be refused; the same
    command again goes on from there.
    """
    if old == new:
        raise click.UsageError("OLD and NEW must be two nodes: an id is never given to another one")
    until = time.monotonic() + patience
    with connected(url, request_timeout) as client:
        _insist(client, AddMember(new, address), patience)
        try:
            done = _insist(client, RemoveMember(old), until - time.monotonic())
        except NotFound:
            raise Failure(
                f"{new} is a member now; {old} was none, so nothing was removed."
            ) from None
    _tell(done, f"{new} is a member now, and {old} is none", as_json)
    if not as_json:
        print_text(_advice(done))


def _insist(client: Client, change: AddMember | RemoveMember, patience: float) -> MemberChange:
    """Asks until it is done. Raises TaskqError: what the leader refuses, that nobody leads, or that
    time is over."""
    try:
        return _asked_until_done(client, change, patience)
    except KeyboardInterrupt:
        note("")
        text = "The change goes on, if it was begun; the same command shows how far it is"
        if isinstance(change, AddMember):
            text += f", `taskq cluster remove {change.node_id}` ends it"
        note(f"{text}.")
        raise click.exceptions.Exit(exits.INTERRUPTED) from None


def _asked_until_done(
    client: Client, change: AddMember | RemoveMember, patience: float
) -> MemberChange:
    answered = time.monotonic()
    until = answered + patience
    teller = _Teller(change.node_id)
    leaderless = False
    while True:
        try:
            # The same again is no second change: it says how far it is.
            told: MemberChange = client.call(change)
            if told.stage == ChangeStage.DONE:
                return told
            text, answered, leaderless = _in_words(told), time.monotonic(), False
            teller.progress(text)
        except (Unavailable, OutcomeUnknown, ConnectionFailed) as error:
            text = str(error)
            leaderless |= getattr(error, "code", None) == ErrorCode.NO_LEADER
            if time.monotonic() - answered >= LEADERLESS_SECS:
                if isinstance(error, ConnectionFailed) or not leaderless:
                    raise
                raise Failure(NO_LEADER) from error
            teller.trouble(text)
        if time.monotonic() >= until:
            raise Failure(
                f"Not done after {duration_text(patience)} ({change.node_id}: {text}); it may still"
                " come to its end. The same command again goes on."
            )
        time.sleep(AGAIN_SECS)


class _Teller:
    """Says how far it is, no more often than one can read; the same trouble once."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._said, self._said_at = "", -TELL_SECS
        self._troubles: set[str] = set()

    def progress(self, text: str) -> None:
        """What a leader answered."""
        self._troubles.clear()
        self._tell(text)

    def trouble(self, text: str) -> None:
        """Why there is no answer."""
        if text not in self._troubles and self._tell(text):
            self._troubles.add(text)

    def _tell(self, text: str) -> bool:
        now = time.monotonic()
        if text == self._said or now - self._said_at < TELL_SECS:
            return False
        self._said, self._said_at = text, now
        note(f"{self._node_id}: {text}")
        return True


def _in_words(told: MemberChange) -> str:
    if told.stage == ChangeStage.CATCHING_UP and told.lag is not None:
        return f"{told.stage}, {count_text(told.lag)} entries to go"
    return told.stage


def _tell(done: MemberChange, text: str, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = done._asdict()
        document["members"] = [{"node_id": one, "address": at} for one, at in done.members]
        print_json(document)
        return
    members = list_text(one for one, _ in done.members)
    print_text(f"{text}: the members are {members}.")


def _advice(done: MemberChange) -> str:
    """A node that has lost its disk knows of no cluster but by its configuration."""
    peers = ",".join(f"{one}={at or PLACE}" for one, at in done.members)
    text = f"Before any of them starts again, name all in its raft.peers: {peers}"
    unknown = [one for one, at in done.members if not at]
    if not unknown:
        return text
    what = "address of the Raft port" if len(unknown) == 1 else "addresses of the Raft ports"
    return f"{text}\nPut the {what} of {list_text(unknown)} in the place of {PLACE}."
