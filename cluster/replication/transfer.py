"""Handing leadership over (A7; Raft dissertation 3.10).

    proposals held --> all is committed, the target has everything --> "time out now"
        --> a new leader is heard: what was held goes there
        --> time-out: this node, if it still leads, goes on and proposes what was held

The driver holds all proposals while `holding`; one time-out covers all of it.
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


class Transfer:
    """At most one at a time; see the module. `timeout_secs` for all of it."""

    def __init__(self, raft: Raft, post: Post, timeout_secs: float) -> None:
        self._raft = raft
        self._post = post
        self._timeout_secs = timeout_secs
        self._target = ""
        self._until = math.inf
        self._told = 0  # the last index that the target was told
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
        self._until = now + self._timeout_secs

    def turn(self, now: float) -> None:
        """Once per round of the driver, on the leader, before anything is proposed."""
        if now >= self._until:
            text = f"{self._target} did not take over in {self._timeout_secs:g} s"
            self.give_up(ErrorCode.UNAVAILABLE, text)

    def tell(self, leading: Leading) -> None:
        """Once per round, after entries were applied: tells the target when all is ready."""
        if self._done is None:
            return
        raft = self._raft
        last = raft.last_index
        whole = leading.peers[self._target].match == last and raft.applied_index == last
        if whole and self._told != last:
            self._told = last
            self._post.send(self._target, TimeoutNow(raft.term, raft.loss, last))

    def due(self) -> float:
        """When it is given up, in loop time."""
        return self._until

    def end(self) -> None:
        """A new term began: another node leads, or will."""
        if self._done is not None:
            self._finish(None)

    def give_up(self, code: ErrorCode, text: str) -> None:
        """Nobody took over."""
        if self._done is not None:
            log.warning("leadership was not handed over", to=self._target, why=text)
            self._finish(refuse(code, text, RETRY_MS))

    def _finish(self, why: Refusal | None) -> None:
        done, self._done = self._done, None
        self._until = math.inf
        assert done is not None
        done(why)


def best(leading: Leading) -> str:
    """The voting peer that has most of the log; empty where there is none."""
    able = [
        (peer.match, peer_id)
        for peer_id, peer in leading.peers.items()
        if peer.connected and not peer.loss and peer.stage is Stage.REPLICATE
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
    if peer is None:
        members = ", ".join(sorted((raft.node_id, *leading.peers)))
        return refuse(ErrorCode.NOT_FOUND, f"{target} is not a member; members are {members}")
    text = ""
    if not peer.connected:
        text = f"{target} cannot be reached"
    elif peer.loss:
        text = f"{target} lost its log and does not vote yet"
    elif peer.stage is Stage.SNAPSHOT:
        text = f"{target} is being given the state; try again when it has caught up"
    return refuse(ErrorCode.WRONG_STATE, text) if text else None
