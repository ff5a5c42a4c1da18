"""Several servers in one process: real dispatchers, sessions and machines; one log, links of lists.

A test says who leads, who knows it, which links break, and when messages and entries arrive.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from cluster.server.replica import Sink
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.entry import encode_entry
from tests.unit.server.memory_replica import MemoryReplica
from tests.unit.server.rig import Rig
from tests.unit.server.virtual_loop import VirtualLoop

NAMES = ("n1", "n2", "n3")


class GroupReplica(MemoryReplica):
    """One member. `leads`: its own no-op is applied; `leader`: whom it takes for the leader."""

    def __init__(self, loop: VirtualLoop, group: Group, node_id: str) -> None:
        super().__init__(loop)
        self.group = group
        self.node_id = node_id
        self.leads = False
        self.leader = ""
        self.received: list[Any] = []
        self.on_message: Any = None
        self.on_lost: list[Any] = []

    def is_leader(self) -> bool:
        return self.leads

    def send(self, peer_id: str, payload: bytes) -> bool:
        return self.group.send(self.node_id, peer_id, payload)

    def trusts(self, peer_id: str) -> bool:
        return peer_id not in self.group.guests

    def on_forward(self, listener: Any) -> None:
        self.on_message = listener

    def on_peer_lost(self, listener: Any) -> None:
        self.on_lost.append(listener)

    def propose(self, command: Any, sink: Sink, tag: Any) -> None:
        if not self.leads:
            sink.deliver(tag, refuse(ErrorCode.NO_LEADER, "not the leader", 200))
            return
        if not self._batch and not self.held:
            self._loop.call_soon(self._apply)
        self._batch.append((command, sink, tag))

    def read_barrier(self, sink: Sink, tag: Any) -> None:
        if self.leads:
            sink.deliver(tag, None)
        else:
            sink.deliver(tag, refuse(ErrorCode.NO_LEADER, "not the leader", 200))

    def _apply(self) -> None:
        if not self._batch or self.held:
            return
        batch, self._batch = self._batch, []
        results = self.commit(batch)
        reply = self.machine.reply
        for (_, sink, tag), result in zip(batch, results.results, strict=True):
            sink.deliver(tag, reply(result))
        for listener in self._listeners:
            listener(results)

    def commit(self, batch: list[tuple[Any, Sink, Any]]) -> Any:
        """Puts an entry into the log of the group and applies it here, without telling anybody."""
        commands = [command for command, _, _ in batch]
        entry = encode_entry(self.cluster_time_ms(), self.wall_ms(), commands)
        self.group.log.append((entry, commands))
        self.applied_index += 1
        assert self.applied_index == len(self.group.log), "only who has everything leads"
        return self.machine.apply(entry)

    def catch_up(self) -> None:
        """Applies what the log has."""
        while self.applied_index < len(self.group.log):
            applied = self.machine.apply(self.group.log[self.applied_index][0])
            self.applied_index += 1
            for listener in self._listeners:
                listener(applied)

    def step_down(self, *, committed: bool = False) -> None:
        """What is in flight is unknown where it is in the log or may be, else not carried out."""
        if not self.leads:
            return
        batch, self._batch = self._batch, []
        if committed and batch:
            self.commit(batch)
        self.leads = False
        refusal = Refusal(ErrorCode.NO_LEADER.value, "leadership lost", 200, committed)
        for _, sink, tag in batch:
            sink.deliver(tag, refusal)
        for listener in self._leadership:
            listener(False)

    def lead(self) -> None:
        self.catch_up()
        self.term += 1
        self.leads = True
        for listener in self._leadership:
            listener(True)

    def transfer(self, target: str, sink: Sink, tag: Any) -> None:
        if target and target not in NAMES:
            sink.deliver(tag, refuse(ErrorCode.NOT_FOUND, f"{target} is no member"))
            return
        self.step_down()
        self.group.tell("")
        sink.deliver(tag, None)
        chosen = target or next(name for name in NAMES if name != self.node_id)
        self._loop.call_later(0.01, self.group.elect, chosen)

    def members(self) -> list[tuple[str, str]]:
        return [(name, f"{name}:6379") for name in NAMES]


class Group:
    """Three nodes. `delay` in seconds is how long a message takes. `guests`: no members."""

    def __init__(self, delay: float = 0.0001, **quota: Any) -> None:
        self.loop = VirtualLoop()
        self.delay = delay
        self.guests: set[str] = set()
        self.log: list[tuple[bytes, list[Any]]] = []
        self.down: set[frozenset[str]] = set()
        self.full: set[tuple[str, str]] = set()  # (from, to): takes nothing
        self.messages: list[tuple[str, str, bytes]] = []
        self._cuts: dict[frozenset[str], int] = {}
        self._queues: dict[tuple[str, str], deque[bytes]] = {}
        self.rigs: dict[str, Rig] = {}
        for name in NAMES:
            replica = GroupReplica(self.loop, self, name)
            self.rigs[name] = Rig(loop=self.loop, replica=replica, **quota)

    def __getitem__(self, name: str) -> Rig:
        return self.rigs[name]

    def replica(self, name: str) -> GroupReplica:
        replica = self.rigs[name].replica
        assert isinstance(replica, GroupReplica)
        return replica

    @property
    def leader(self) -> str:
        return next((name for name in NAMES if self.replica(name).leads), "")

    # --- leadership -------------------------------------------------------------------------------

    def elect(self, name: str, *, tell: bool = True) -> None:
        """`name` leads; the one before steps down. Everybody hears of it, if `tell`."""
        old = self.leader
        if old and old != name:
            self.replica(old).step_down()
        if old != name:
            self.replica(name).lead()
        if tell:
            self.tell(name)

    def tell(self, leader: str, *names: str) -> None:
        """These nodes (default: all) take `leader` for the leader from now on."""
        for name in names or NAMES:
            if self.replica(name).leader != leader:
                self.replica(name).follow(leader)

    # --- links ------------------------------------------------------------------------------------

    def send(self, sender: str, receiver: str, payload: bytes) -> bool:
        pair = frozenset((sender, receiver))
        if pair in self.down or (sender, receiver) in self.full:
            return False
        self.messages.append((sender, receiver, payload))
        number = self._cuts.get(pair, 0)
        self.loop.call_later(self.delay, self._arrive, sender, receiver, payload, number)
        return True

    def _arrive(self, sender: str, receiver: str, payload: bytes, number: int) -> None:
        if self._cuts.get(frozenset((sender, receiver)), 0) == number:
            self.replica(receiver).on_message(sender, payload)

    def cut(self, one: str, other: str, *, back: bool = True) -> None:
        """The connections break: what is on its way is gone. `back`: new ones are there at once."""
        pair = frozenset((one, other))
        self._cuts[pair] = self._cuts.get(pair, 0) + 1
        if not back:
            self.down.add(pair)
        for name, peer in ((one, other), (other, one)):
            for listener in self.replica(name).on_lost:
                listener(peer)

    def mend(self) -> None:
        self.down.clear()
        self.full.clear()

    # --- the log ----------------------------------------------------------------------------------

    def carried_out(self, kind: type) -> list[Any]:
        """Commands of a kind in the log."""
        return [one for _, commands in self.log for one in commands if type(one) is kind]

    def settle(self, seconds: float = 0.01) -> None:
        """Lets messages arrive, and followers apply what is in the log."""
        self.loop.advance(seconds)
        for name in NAMES:
            self.replica(name).catch_up()
        self.loop.settle()
