"""How empty nodes become one cluster, whatever crashes or is wiped meanwhile (A9). Pure.

    empty --> prepared --> formed      the lowest id mints a cluster id and sends *prepare*; each
      |                      ^         answer carries the disk id; when all are there, the minter
      +----------------------+         saves *formed*, which lists the disks, and then sends it

Nobody votes before it is formed. A prepared node takes a newer *prepare*. Who meets a formed node
that its configuration names takes over its cluster id, and votes only if its own disk is listed; a
formed node answers every unformed one, at any time of its life. `chaos/models/founding.py` is the
model. The replica carries out the steps; afterwards the members are those of the log.

A node that is alone in its set has nobody to ask: it first listens for members of a cluster that
has grown from it, whose disk may have been replaced since, and believes whoever says so. Links that
are cut meanwhile defeat that; whoever names the others too forms nothing without an answer of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from cluster.replication.founding_letters import (
    Answer,
    Ask,
    Differ,
    Formed,
    Letter,
    Prepare,
    decode,
    encode,
)
from cluster.replication.founding_record import FoundingRecord, Stage

log = structlog.get_logger(__name__)

# So long a node that is alone in its set listens: members of a cluster dial it again after the
# time-out of a dial and the pause behind it, 1.75 s at most (`peers/timings.py`).
LISTEN_SECS = 2.0


@dataclass(frozen=True, slots=True)
class Save:
    """The record must be on disk, synced, before the next step is taken."""

    record: FoundingRecord


@dataclass(frozen=True, slots=True)
class Send:
    """A message on the channel FOUNDING. It may be lost."""

    peer_id: str
    message: bytes


Step = Save | Send


class Founding:
    """One node's part. Steps of successive calls are one queue: taken in order, across calls.

    `record` is what the disk says once all steps handed out were taken; until then nobody may act
    upon `formed`. Where a Save failed, this object is thrown away and made anew from the disk.
    `members`: the configured founding set, node id -> address, this node among them; `mint` makes a
    random cluster id.
    """

    def __init__(
        self,
        node_id: str,
        members: Mapping[str, str],
        disk_id: str,
        record: FoundingRecord,
        mint: Callable[[], str],
    ) -> None:
        assert node_id in members, f"{node_id} is no member of its own founding set"
        self.record = record
        self._node_id = node_id
        self._members = tuple(sorted(members))
        self._others = [member for member in self._members if member != node_id]
        self._minter = self._members[0]
        self._disk_id = disk_id
        self._mint = mint
        self._answers: dict[str, str] = {}
        self._differing: dict[str, str] = {}
        self._listens_until: float | None = None

    @property
    def formed(self) -> bool:
        """This node belongs to a cluster."""
        return self.record.formed

    @property
    def listed(self) -> bool:
        """Its disk is one that founded the cluster: the node votes. Else it is non-voting (A8)."""
        return self.formed and self.record.disks.get(self._node_id) == self._disk_id

    @property
    def obstacle(self) -> str:
        """What founding waits for, in words; empty once formed."""
        if self.formed:
            return ""
        if self._differing:
            return "; ".join(text for _, text in sorted(self._differing.items()))
        if not self._others:
            return "a new cluster is founded soon, unless members of an older one are heard"
        missing = [peer for peer in self._others if peer not in self._answers]
        if self._node_id != self._minter:
            missing = [self._minter]
        return f"the cluster is being founded; waiting for {', '.join(missing)}"

    # --- what happens -----------------------------------------------------------------------------

    def wake(self, now: float) -> list[Step]:
        """At the start and every second or so, in seconds of any clock: says again what may have
        been lost."""
        if self.formed:
            return []
        if not self._others:
            return self._listen(now)
        if self._node_id != self._minter:
            return [self._send(peer_id, Ask(self._members)) for peer_id in self._others]
        return self._propose()

    def _listen(self, now: float) -> list[Step]:
        if self._listens_until is None:
            self._listens_until = now + LISTEN_SECS
        if now < self._listens_until:
            return []
        return [*self._prepare(), *self._form()]

    def _prepare(self) -> list[Step]:
        if self.record.stage is Stage.EMPTY:
            return self._save(Stage.PREPARED, self._mint())
        return []

    def _propose(self) -> list[Step]:
        steps = self._prepare()
        return steps + [self._send(peer_id, self._proposal()) for peer_id in self._others]

    def _propose_to(self, peer_id: str) -> list[Step]:
        """What nobody has heard of yet is said to all."""
        if self.record.stage is Stage.EMPTY:
            return self._propose()
        return [self._send(peer_id, self._proposal())]

    def connected(self, peer_id: str) -> list[Step]:
        """Messages can be sent to this peer from now on."""
        if self.formed:
            return [self._send(peer_id, self._news())]
        if not self._others:
            return []  # it listens: whoever is a member says so
        if self._node_id == self._minter:
            return self._propose_to(peer_id)
        return [self._send(peer_id, Ask(self._members))]

    def receive(self, peer_id: str, message: bytes) -> list[Step]:
        """A message of an authenticated peer; one that is malformed is logged and dropped."""
        try:
            letter = decode(message)
        except ValueError as error:
            log.warning("a founding message was dropped", peer=peer_id, why=str(error))
            return []
        if self.formed:
            return self._receive_formed(peer_id, letter)
        if not self._others and not isinstance(letter, Formed):
            return []  # a new node: it is answered when there is a cluster
        match letter:
            case Ask(members):
                return self._asked(peer_id, members)
            case Prepare(cluster_id, members):
                return self._prepared(peer_id, cluster_id, members)
            case Answer():
                return self._answered(peer_id, letter)
            case Formed():
                return self._take_over(peer_id, letter)
            case Differ(members):
                self._note_difference(peer_id, members)
                return []

    def _receive_formed(self, peer_id: str, letter: Letter) -> list[Step]:
        match letter:
            case Ask() | Prepare() | Answer():
                return [self._send(peer_id, self._news())]
            case Formed(cluster_id) if cluster_id != self.record.cluster_id:
                log.error(
                    "a peer belongs to another cluster: check raft.peers and the data folders",
                    peer=peer_id,
                    cluster_of_peer=cluster_id,
                    cluster_id=self.record.cluster_id,
                )
        return []

    # --- before it is formed ----------------------------------------------------------------------

    def _asked(self, peer_id: str, members: tuple[str, ...]) -> list[Step]:
        if not self._same_set(peer_id, members):
            return [self._send(peer_id, Differ(self._members))]
        return self._propose_to(peer_id) if self._node_id == self._minter else []

    def _prepared(self, peer_id: str, cluster_id: str, members: tuple[str, ...]) -> list[Step]:
        if not self._same_set(peer_id, members):
            return [self._send(peer_id, Differ(self._members))]
        if peer_id != self._minter or self._node_id == self._minter:
            log.error("a node that may not found the cluster tries to", peer=peer_id)
            return []
        steps: list[Step] = []
        if self.record != FoundingRecord(Stage.PREPARED, cluster_id):
            steps = self._save(Stage.PREPARED, cluster_id)
        return [*steps, self._send(peer_id, Answer(cluster_id, self._disk_id))]

    def _answered(self, peer_id: str, answer: Answer) -> list[Step]:
        proposed = self._node_id == self._minter and self.record.stage is Stage.PREPARED
        if not proposed or answer.cluster_id != self.record.cluster_id:
            return []
        if peer_id not in self._others:
            return []
        # The last answer of a node counts: its disk may have been replaced meanwhile.
        self._answers[peer_id] = answer.disk_id
        return self._form() if self._complete() else []

    def _complete(self) -> bool:
        return all(peer_id in self._answers for peer_id in self._others)

    def _form(self) -> list[Step]:
        """The minter's record is on disk before anybody hears of it: whoever hears may vote."""
        disks = {**self._answers, self._node_id: self._disk_id}
        steps = self._save(Stage.FORMED, self.record.cluster_id, disks)
        return steps + [self._send(peer_id, self._news()) for peer_id in self._others]

    def _take_over(self, peer_id: str, formed: Formed) -> list[Step]:
        if self._others and peer_id not in self._others:
            return []  # who is named is asked, and answers
        listed = formed.disks.get(self._node_id) == self._disk_id
        founders = tuple(sorted(formed.disks))
        # An empty disk may come back to a cluster whose members have changed since; one that is
        # to vote at once must mean the same cluster as those that it votes with.
        if listed and not self._same_set(peer_id, founders):
            return [self._send(peer_id, Differ(self._members))]
        return self._save(Stage.FORMED, formed.cluster_id, formed.disks)

    # --- parts ------------------------------------------------------------------------------------

    def _same_set(self, peer_id: str, members: tuple[str, ...]) -> bool:
        if members == self._members:
            self._differing.pop(peer_id, None)
            return True
        self._note_difference(peer_id, members)
        return False

    def _note_difference(self, peer_id: str, members: tuple[str, ...]) -> None:
        text = (
            f"{peer_id} has the founding members {', '.join(members)}, this node "
            f"{', '.join(self._members)}: raft.peers must name the same nodes on all of them"
        )
        if members == self._members:
            # It is this node that differed before.
            self._differing.pop(peer_id, None)
        elif self._differing.get(peer_id) != text:
            self._differing[peer_id] = text
            log.error("the cluster cannot be founded", why=text)

    def _proposal(self) -> Prepare:
        return Prepare(self.record.cluster_id, self._members)

    def _news(self) -> Formed:
        return Formed(self.record.cluster_id, self.record.disks)

    def _save(
        self, stage: Stage, cluster_id: str, disks: Mapping[str, str] | None = None
    ) -> list[Step]:
        self.record = FoundingRecord(stage, cluster_id, disks or {})
        return [Save(self.record)]

    def _send(self, peer_id: str, letter: Letter) -> Step:
        return Send(peer_id, encode(letter))
