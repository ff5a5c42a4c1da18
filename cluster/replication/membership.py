"""A node's side to the rest of its group: links, founding, members, the state it may be given.

Lives as long as the node; the core behind it comes and goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from cluster.replication import member_letters
from cluster.replication.channels import FORWARD, MEMBERS, SNAPSHOT
from cluster.replication.core import Core, Others
from cluster.replication.founder import Founder
from cluster.replication.group_settings import GroupSettings
from cluster.replication.links import Links, Note
from cluster.replication.member_letters import MemberLetter
from cluster.replication.snapshots.receiver import SnapshotReceiver
from cluster.replication.standing import Standing
from cluster.replication.surroundings import Surroundings
from cluster.replication.voters import Voters, founders

log = structlog.get_logger(__name__)

# Founding says again what may have been lost, and transfers of states are looked at. Seconds.
WAKE_SECS = 0.5
SUPERSEDED = (
    "its name was given to another disk: this one counts for nothing; empty its data folder, or put"
    " the newer one back"
)


class Membership:
    """See the module. `on_formed()`: the node belongs to a cluster now. `on_state(index)`: a state
    was received. `on_forward(peer_id, payload)`, `on_peer_lost(peer_id)`: see `Replica`.
    `on_wake(now)`: twice a second, in loop time."""

    def __init__(
        self,
        group: GroupSettings,
        directory: Any,
        surroundings: Surroundings,
        *,
        note: Callable[[], Note],
        on_formed: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        on_state: Callable[[int], None],
        on_forward: Callable[[str, bytes], None],
        on_peer_lost: Callable[[str], None],
        on_wake: Callable[[float], None],
    ) -> None:
        self._group = group
        self._on_peer_lost = on_peer_lost
        self._on_wake = on_wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._core: Core | None = None
        self._outside = ""  # as last said in the log
        self._told = -1  # the set that the others were told
        self._at_first: dict[str, str] | None = None  # where the members were at the start
        self._trusted: set[str] = set()  # of those that are connected, when last looked
        self._standing = Standing(group.node_id, group.members, self._founding_set)
        identity = directory.identity
        self.links = Links(
            group,
            identity.cluster_id,
            identity.disk_id,
            surroundings,
            note=note,
            on_up=self._up,
            on_down=self._down,
            on_failure=on_failure,
            trusts=self._standing.trusts,
            believes=self._standing.believes,
        )
        self._founder = Founder(directory, group, self.links, on_formed)
        self._executor = surroundings.executor("received state")
        self.receiver = SnapshotReceiver(
            lambda peer_id, message: self.links.send(SNAPSHOT, peer_id, message),
            directory.begin_state,
            self._executor,
            self._applied,
            on_ready=on_state,
            on_life=self._leader_lives,
            on_failure=on_failure,
        )
        self.links.handlers[SNAPSHOT] = self._snapshot
        self.links.handlers[MEMBERS] = self._letter
        self.links.handlers[FORWARD] = lambda peer_id, payload: on_forward(peer_id, bytes(payload))

    async def start(self) -> None:
        """Listens, dials, and begins to found the cluster where that is not done."""
        await self.links.start()
        self._wake()

    async def stop(self) -> None:
        """After the core was closed."""
        if self._timer is not None:
            self._timer.cancel()
        await self.links.stop()
        await self.receiver.reset()
        self._executor.shutdown(wait=True)

    # --- founding ---------------------------------------------------------------------------------

    @property
    def formed(self) -> bool:
        """Whether this node belongs to a cluster."""
        return self._founder.founding.formed

    @property
    def listed(self) -> bool:
        """Whether its disk is one that founded the cluster."""
        return self._founder.founding.listed

    @property
    def obstacle(self) -> str:
        """What founding waits for."""
        return self._founder.founding.obstacle

    def _wake(self) -> None:
        self._timer = self._loop.call_later(WAKE_SECS, self._wake)
        self._founder.wake(self._loop.time())
        if self._core is not None and self._core.exchange is not None:
            self._core.exchange.sender.wake(self._loop.time())
        self._follow()
        self._on_wake(self._loop.time())

    # --- members (A10) ----------------------------------------------------------------------------

    @property
    def voters(self) -> Voters:
        """The members in force: those of the log; the founders before there is one."""
        core = self._core
        return self._standing.known if core is None else core.raft.roster.newest

    def trusts(self, peer_id: str) -> bool:
        """Whether what that node passes on is carried out."""
        return self._standing.trusts(peer_id)

    def _founding_set(self) -> Voters:
        members = self._group.members
        ids = self._founder.founding.record.disks or members
        return founders({one: members.get(one, "") for one in ids})

    @property
    def learners(self) -> dict[str, str]:
        """Whom this node, as leader, is to add: node id -> address of the Raft port."""
        return {} if self._core is None else self._core.consensus.changes.addresses()

    @property
    def removed(self) -> str:
        """Why this node is no member any more, in words; empty where it is one, or is to be."""
        core = self._core
        if core is None or core.raft.roster.is_member or core.raft.journal.flag:
            return ""
        roster, own = core.raft.roster, self._group.node_id
        if own in self._standing.known.members and own not in roster.newest.members:
            return ""  # it may come to nothing yet
        index = max(roster.newest.entry, roster.dismissed_index)
        return f"{own} is no member of the cluster any more: entry {index} of the log removed it"

    @property
    def waits(self) -> str:
        """Where this node is none yet: what it waits for, in words."""
        core, own = self._core, self._group.node_id
        if core is None or not core.raft.journal.flag or core.raft.roster.is_member:
            return ""
        address = self._group.members[own]
        return f"no member yet: `taskq cluster add {own} {address}` makes it one"

    @property
    def superseded(self) -> str:
        """Why this node, a member, counts for nothing for good, in words: it has an older disk."""
        core = self._core
        if core is None or core.raft.journal.flag or not core.raft.is_member:
            return ""
        return SUPERSEDED if core.raft.loss else ""

    @property
    def outside(self) -> str:
        """Why this node takes no part, in words."""
        return self.removed or self.waits or self.superseded

    def _changed(self) -> None:
        """Called from within a round of the driver: connections are not touched there."""
        self._loop.call_soon(self._follow)

    def _follow(self) -> None:
        """Dials who is a member now, tells the others, and says what has become of this node."""
        core = self._core
        if core is None:
            return
        voters = core.raft.roster.newest
        if self._told < 0:
            self._compare_with_configuration(voters)
        given = self._group.members
        addresses = {
            one: voter.address or given.get(one, "") for one, voter in voters.members.items()
        }
        # The configuration is as old as the process: it counts against what the log said by then.
        self._at_first = addresses if self._at_first is None else self._at_first
        spare = {
            one: given[one]
            for one, address in addresses.items()
            if given.get(one, address) != address == self._at_first.get(one)
        }
        learners = self.learners
        self.links.set_members({**learners, **addresses}, spare, learners)
        self._standing.weigh()
        self._dismiss(core)
        known = self._standing.known.entry
        if known != self._told:
            self._told = known
            for peer_id in sorted(self.links.connected()):
                self._send_letter(peer_id)
        self._end_passing()
        outside = self.outside
        if outside != self._outside:
            self._outside = outside
            if outside:
                log.warning("this node counts for nothing", why=outside)
            else:
                log.info("this node is a member", entry=voters.entry)

    def _end_passing(self) -> None:
        """A leader answers no more what a node passed on that is no member any more."""
        trusted = {one for one in self.links.connected() if self._standing.trusts(one)}
        gone, self._trusted = self._trusted - trusted, trusted
        if self._core is not None and self._core.consensus.leads:
            for peer_id in sorted(gone & self.links.connected()):
                self._on_peer_lost(peer_id)

    def _compare_with_configuration(self, voters: Voters) -> None:
        given, members = sorted(self._group.members), list(voters.members)
        if given == [self._group.node_id] and len(members) > 1:
            log.warning(
                "raft.peers names this node alone, and there are other members: name all of them,"
                " or this node founds a cluster of its own when its disk is lost",
                members=", ".join(members),
            )
        elif voters.entry and given != members:
            log.info(
                "raft.peers names other nodes than are members: the members count",
                peers=", ".join(given),
                members=", ".join(members),
            )

    def _send_letter(self, peer_id: str) -> None:
        known = self._standing.known
        address = self._group.members[self._group.node_id]
        letter = MemberLetter(address, known.entry, list(known.members))
        self.links.send(MEMBERS, peer_id, member_letters.encode(letter))

    def _letter(self, peer_id: str, payload: memoryview) -> None:
        try:
            letter = member_letters.decode(payload)
        except ValueError as error:
            log.warning("a letter about members was dropped", peer=peer_id, why=str(error))
            return
        self.links.welcome(peer_id, letter.address)
        self._standing.hear(peer_id, letter.entry, letter.members)
        if self._standing.known.entry != self._told:
            self._changed()

    def _dismiss(self, core: Core) -> None:
        """A later set than any of its log, as members say, may be without this node."""
        roster, known = core.raft.roster, self._standing.known
        if known.entry > roster.newest.entry and self._group.node_id not in known.members:
            roster.dismissed(known.entry)

    # --- the core ---------------------------------------------------------------------------------

    def others(self) -> Others:
        """What a core needs to know of the rest."""
        founding = self._founding_set()
        return Others(self.links, self._group, self.receiver, founding, self._changed)

    def attach(self, core: Core) -> None:
        """This is the core from now on."""
        self._core = self._standing.core = core
        self._changed()

    def detach(self) -> None:
        """There is no core for a while."""
        if self._core is not None:
            self._standing.leave()
            self._core = None

    def _applied(self) -> int:
        return 0 if self._core is None else self._core.raft.applied_index

    def _leader_lives(self) -> None:
        if self._core is not None:
            self._core.consensus.leader_lives()

    def _snapshot(self, peer_id: str, payload: memoryview) -> None:
        core = self._core
        if core is not None and core.exchange is not None:
            core.exchange.receive(peer_id, bytes(payload), core.raft.term)

    # --- links ------------------------------------------------------------------------------------

    def _up(self, peer_id: str) -> None:
        self._founder.link_up(peer_id)
        self._send_letter(peer_id)
        if self._core is not None:
            self._core.consensus.link_up(peer_id)
            self._core.driver.wake()

    def _down(self, peer_id: str, speaks: bool) -> None:
        """The connection on which this node (`speaks`) or the peer speaks was closed."""
        if not speaks:
            self._standing.forget(peer_id)
        core = self._core
        if core is not None:
            if speaks:
                core.consensus.link_down(peer_id)
            else:
                core.consensus.silence(peer_id)
            core.driver.wake()
            if core.exchange is not None:
                core.exchange.peer_lost(peer_id)
        self._on_peer_lost(peer_id)

    def forward(self, peer_id: str, payload: bytes) -> bool:
        """Sends to the server of another node."""
        return self.links.send(FORWARD, peer_id, payload)

    def addresses(self, own: str) -> list[tuple[str, str]]:
        """(node id, client address) of every member."""
        notes, members = self.links.notes, self.voters.members
        known = {one: notes[one].address for one in members if one in notes}
        return [(one, own if one == self._group.node_id else known.get(one, "")) for one in members]
