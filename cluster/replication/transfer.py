"""Handing leadership over (A7; Raft dissertation 3.10).

    proposals held --> all is committed, the target has everything --> "time out now", repeated
        --> a higher term: this node leads no more, what was held is refused and may go elsewhere
            --> a new leader is heard: done
        --> time-out: this node, if it still leads, goes on and proposes what was held

The driver of a leader holds all proposals while `holding`; one time-out covers all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

from cluster.replication.leading import Leading
from cluster.replication.messages import TimeoutNow
from cluster.replication.post import Post
from cluster.replication.progress import Stage
from cluster.replication.raft import Raft
from taskq.errors import ErrorCode, Refusal, refuse

log = structlog.get_logger(__name__)

# Called with None when another node leads, else with the reason why not.
Done = Callable[[Refusal | None], None]
RETRY_MS = 500
# An order may be lost with its connection. It is worth nothing in another term, so that the target
# stands once however often it hears it. Seconds.
AGAIN_SECS = 0.05


class Transfer:
    """At most one at a time; see the module. `timeout_secs` for all of it."""

    def __init__(self, raft: Raft, post: Post, timeout_secs: float) -> None:
        self._raft = raft
        self._post = post
        self._timeout_secs = timeout_secs
        self._target = ""
        self._until = math.inf
        self._told = 0  # the last index that the target was told
        self._again_at = math.inf
        self._deposed = False
        self._done: Done | None = None

    @property
    def holding(self) -> bool:
        """Whether nothing may be proposed now."""
        return self._done is not None

    def begin(self, target: str, leading: Leading, now: float, done: Done) -> None:
        """Hands over to `target`, or where it is empty to the peer that has most of the log."""
        if self._done is not None:
            text = f"leadership is being handed to {self._target} already"
            done(refuse(ErrorCode.UNAVAILABLE, text, RETRY_MS))
            return
        target = target or best(leading)
        obstacle = _obstacle(self._raft, leading, target)
        if obstacle is not None:
            done(obstacle)
            return
        log.info("handing leadership over", to=target, term=self._raft.term)
        self._target, self._done, self._told = target, done, 0
        self._deposed = False
        self._until = now + self._timeout_secs

    def turn(self, now: float) -> None:
        """Once per round of the driver, before anything is proposed."""
        if now >= self._until:
            text = f"{self._target} did not take over in {self._timeout_secs:g} s"
            if self._deposed:
                text = (
                    f"nobody leads yet, {self._timeout_secs:g} s after {self._target} was told to"
                )
            self.give_up(ErrorCode.UNAVAILABLE, text)

    def tell(self, leading: Leading, now: float) -> None:
        """Once per round, after entries were applied: tells the target when all is ready."""
        if self._done is None:
            return
        raft = self._raft
        if self._target not in leading.peers:
            self.give_up(ErrorCode.UNAVAILABLE, f"{self._target} is no member any more")
            return
        last = raft.last_index
        if leading.peers[self._target].match < last or raft.applied_index < last:
            self._again_at = math.inf
        elif self._told != last or now >= self._again_at:
            self._told, self._again_at = last, now + AGAIN_SECS
            self._post.send(self._target, TimeoutNow(raft.term, raft.flag, last))

    def due(self) -> float:
        """When `turn` or `tell` has something to do, in loop time."""
        return min(self._until, self._again_at)

    def deposed(self) -> None:
        """A new term began: another node leads, or will."""
        self._deposed = True
        self._again_at = math.inf

    def led(self, leader: str) -> None:
        """That node leads the current term."""
        if self._done is None or not self._deposed:
            return
        if leader == self._raft.node_id:
            self.give_up(ErrorCode.UNAVAILABLE, "nobody took over, and this node leads again")
        else:
            self._finish(None)

    def give_up(self, code: ErrorCode, text: str) -> None:
        """Nobody took over."""
        if self._done is not None:
            log.warning("leadership was not handed over", to=self._target, why=text)
            self._finish(refuse(code, text, RETRY_MS))

    def _finish(self, why: Refusal | None) -> None:
        done, self._done = self._done, None
        self._until = self._again_at = math.inf
        assert done is not None
        done(why)


def best(leading: Leading) -> str:
    """The voting peer that has most of the log; empty where there is none."""
    voting = leading.voting()
    able = [
        (peer.match, peer_id)
        for peer_id, peer in leading.peers.items()
        if peer_id in voting and not peer.loss and peer.stage is Stage.REPLICATE
    ]
    return max(able, default=(0, ""))[1]


def _obstacle(raft: Raft, leading: Leading, target: str) -> Refusal | None:
    """Why that node cannot take over."""
    peer = leading.peers.get(target)
    if target == raft.node_id:
        return refuse(ErrorCode.WRONG_STATE, f"{target} leads already")
    if not target:
        text = "no other member can take over now"
        return refuse(ErrorCode.UNAVAILABLE, text, RETRY_MS)
    if peer is None or target not in raft.others:
        members = ", ".join(raft.roster.newest.members)
        return refuse(ErrorCode.NOT_FOUND, f"{target} is not a member; members are {members}")
    text = ""
    if not peer.connected:
        text = f"{target} cannot be reached"
    elif peer.loss:
        text = f"{target} lost its log and does not vote yet"
    elif peer.stage is Stage.SNAPSHOT:
        text = f"{target} is being given the state; try again when it has caught up"
    return refuse(ErrorCode.WRONG_STATE, text) if text else None
