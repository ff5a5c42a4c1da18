"""The door to the replicated state, as the server and the monitors see it.

Implemented by `cluster/replication`; everything here is called on the node's one loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from taskq.commands import AddMember, RemoveMember
from taskq.errors import Refusal
from taskq.machine.machine import Applied, Machine
from taskq.results import ClusterStatus, MemberChange


class Sink(Protocol):
    """Takes what became of a proposal or a read barrier."""

    def deliver(self, tag: Any, value: Any) -> None:
        """Called once per proposal, on the loop, in log order."""


class Export(Protocol):
    """The state on disk, open to be read. `size`: bytes, about."""

    index: int
    terms: tuple[int, int]
    digest: int
    size: int


class Exports(Protocol):
    """Opens the state on disk, as it is at one index, and reads it while it goes on."""

    def begin(self, least_index: int, deadline: float, done: Callable[[Any], None], /) -> None:
        """`done(export)` as soon as the disk has entry `least_index`, or a `Refusal`, at `deadline`
        (loop time) at the latest."""

    def read(self, export: Any, done: Callable[[bytes | Refusal], None], /) -> None:
        """`done(chunk)` with the next pairs, packed, empty at the end, or a `Refusal`: then it is
        over. One call at a time for an export."""

    def end(self, export: Any, /) -> None:
        """Lets go of it."""


class Level(Protocol):
    """The cluster's feature level."""

    def raise_to(self, level: int, sink: Sink, tag: Any, /) -> None:
        """On the leader: raises it to `level`, 0: to the highest that all members can run. Delivers
        (the level before, the level), or a `Refusal`."""


class Replica(Protocol):
    """One node's replica of the state machine."""

    @property
    def machine(self) -> Machine:
        """The applied state; read it freely on the loop, unless `unavailable` says why not."""

    @property
    def node_id(self) -> str:
        """This node."""

    @property
    def cluster_id(self) -> str:
        """The cluster that the node belongs to."""

    @property
    def leader(self) -> str:
        """Node id of the leader, or "" while nobody leads."""

    def on_leader(self, listener: Callable[[str], None]) -> None:
        """Calls with the node id when `leader` has changed, also to ""."""

    @property
    def term(self) -> int:
        """The current term."""

    @property
    def applied_index(self) -> int:
        """Index of the last applied entry."""

    @property
    def commit_index(self) -> int:
        """Index of the last committed entry."""

    def unavailable(self) -> Refusal | None:
        """Why the state cannot be read just now (the disk failed), or None."""

    def removed(self) -> Refusal | None:
        """Why this node is no member any more and serves nobody, or None."""

    def is_leader(self) -> bool:
        """Leader, and its own no-op is applied."""

    def propose(self, command: Any, sink: Sink, tag: Any) -> None:
        """Puts a command into the log. Delivers its reply, ready for the wire, or a `Refusal`;
        `Refusal(..., unknown=True)` if the outcome is not known; NO_LEADER that is not unknown: it
        was certainly not carried out, and the leader may be asked."""

    def read_barrier(self, sink: Sink, tag: Any) -> None:
        """Delivers None when a linearizable read may look at `machine`, or a `Refusal`."""

    def cluster_time_ms(self) -> int:
        """The leader's cluster time now; not less than `machine.elapsed_ms`."""

    def wall_ms(self) -> int:
        """The wall time that an entry would be stamped with now."""

    def subscribe(self, listener: Callable[[Applied], None]) -> None:
        """Calls after each applied entry, after its results were delivered."""

    def on_leadership(self, listener: Callable[[bool], None]) -> None:
        """Calls when this node became leader (true) or is leader no more (false)."""

    def members(self) -> list[tuple[str, str]]:
        """(node id, "host:port" for clients) of every member; "" where that is not known yet."""

    def send(self, peer_id: str, payload: bytes) -> bool:
        """Sends a message about requests to another node; false where it was not sent."""

    def trusts(self, peer_id: str) -> bool:
        """Whether what that node passes on is carried out."""

    def on_forward(self, listener: Callable[[str, bytes], None]) -> None:
        """Calls with (node id, payload) when another node sent one."""

    def on_peer_lost(self, listener: Callable[[str], None]) -> None:
        """Calls with the node id when a connection with that node, in either direction, was lost:
        messages under way in either direction may be. It may be back already."""

    def cluster_status(self) -> ClusterStatus:
        """The cluster as this node knows it now."""

    def transfer(self, target: str, sink: Sink, tag: Any) -> None:
        """On the leader: hands the lead to `target`, or where that is empty to the member that has
        come farthest. Delivers None when this node leads no more, or a `Refusal`."""

    def change_members(self, change: AddMember | RemoveMember) -> MemberChange | Refusal:
        """On the leader: begins to add or remove a node, or says how far that is."""

    @property
    def level(self) -> Level:
        """The cluster's feature level; what it is, is the machine's to tell."""

    def growth_refused(self) -> Refusal | None:
        """What commands that make the state grow are answered with while the disk is full."""

    def entries_sent(self) -> int:
        """Entries that this node, as leader of the present term, handed to connections with the
        others; what was sent twice counts twice. 0 where it does not lead."""

    def in_flight_bytes(self) -> int:
        """Bytes of commands that were proposed and not delivered yet."""

    @property
    def exports(self) -> Exports:
        """The state on disk, to be read for backups."""
