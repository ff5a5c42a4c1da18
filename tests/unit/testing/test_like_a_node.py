"""The broker in memory answers every request as the server of a node does.

Both ends are real on both sides: the node's sessions and dispatcher over the same machine, without
a disk; the same bytes go to both.
"""

from __future__ import annotations

from typing import Any

import pytest

from taskq import commands
from taskq.commands import TaskResult
from taskq.errors import Refusal
from taskq.protocol.codec import NO_REQUEST, Push, Reply
from taskq.protocol.connection import ClientConnection
from taskq.registry import MESSAGE_OF, MESSAGES, Sort
from taskq.testing.engine import Engine
from taskq.testing.session import Session
from tests.unit.server.memory_replica import WALL_MS
from tests.unit.server.rig import Rig, claim, submit, task_id

WORKER = b"w" * 16


class Memory:
    """A client of the broker in memory, with the face of the rig's `Peer`."""

    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.pushes: list[Any] = []
        self.connection = ClientConnection()
        self.hung_up = False
        engine = Engine(WALL_MS, {}, lambda wanted: self.session.cancel(*wanted[:2]))
        self.engine = engine
        self.session = Session(engine, self._read, self._hang_up, lambda secs, act: None)
        self.session.receive(self.connection.greet("test", None))

    def _hang_up(self) -> None:
        self.hung_up = True

    def _read(self, data: bytes) -> None:
        for event in self.connection.receive(data):
            if isinstance(event, Push):
                self.pushes.append(event.command)
            else:
                assert isinstance(event, Reply)
                if event.request_id == NO_REQUEST and not isinstance(event.value, Refusal):
                    continue
                assert event.request_id not in self.answers, "answered twice"
                self.answers[event.request_id] = event.value

    def ask(self, command: Any) -> Any:
        request_id, frame = self.connection.request(command)
        self.session.receive(frame)
        return self.answers.get(request_id)


def outcome(number: int, token: int, ok: bool = True, **fields: Any) -> TaskResult:
    return TaskResult(task_id(number), token, ok, **fields)


# In this order: every state and refusal that needs no time.
REQUESTS: list[Any] = [
    commands.RegisterWorker(WORKER, "w", 2),
    commands.CreateQueue("q", 1_000, 20_000),
    commands.CreateQueue("q", 1_000, 20_000),
    commands.CreateQueue("q", 7),
    submit(1),
    submit(1),
    submit(2, priority=255, payload=b"2", headers={"a": "b"}),
    submit(3, delay_ms=5_000),
    submit(4, payload=b"x" * 2_000_000),
    submit(5, priority=999),
    submit(6, delay_ms=1, run_at_wall_ms=1),
    commands.SubmitTasks([submit(7, "r"), submit(8, "r", max_retries=0), submit(1)]),
    claim(1, wait_ms=0, max_tasks=1),
    claim(1, wait_ms=0, max_tasks=1),
    claim(2, "r", "q", max_tasks=5),
    claim(3, wait_ms=0),
    commands.Heartbeat(WORKER, [1, 2, 99], 3, 500, 1_000),
    commands.ExtendLease(task_id(2), 1),
    commands.ExtendLease(task_id(2), 77),
    commands.CancelTask(task_id(2)),
    outcome(2, 1, result=b"done"),
    outcome(2, 1, result=b"done"),
    outcome(7, 99),
    commands.Nack(task_id(7), 2),
    outcome(8, 3, ok=False, error="no"),
    commands.TaskResults([outcome(1, 4), outcome(1, 4)]),
    commands.Ack(task_id(55), 1),
    commands.QueryStatus(task_id(2)),
    commands.QueryStatus(task_id(1), 10_000),
    commands.QueryStatus(task_id(55), 10_000),
    commands.CancelTask(task_id(3)),
    commands.ListTasks(),
    commands.ListTasks("r", 2, None, 1),
    commands.ListDead(),
    commands.RedriveDead([task_id(8), task_id(1)]),
    commands.PauseQueue("r"),
    claim(4, "r", wait_ms=0),
    commands.ClaimTask(WORKER, 5, 6, ["q"]),
    commands.ResumeQueue("r"),
    commands.PauseQueue("nowhere"),
    commands.PurgeQueue("r"),
    commands.DeleteDead([task_id(8)]),
    commands.DeleteQueue("r"),
    commands.DeleteQueue("q"),
    commands.ListQueues(),
    commands.ListWorkers(),
    commands.DeregisterWorker(WORKER),
    commands.GetStats(),
    commands.TransferLeadership(),
    commands.UpgradeCluster(),
    commands.AddMember("node2", "127.0.0.1:6380"),
    commands.RemoveMember("node1"),
    commands.Ping(),
]

# What tells the nodes apart.
_NODE = {"node_id": "", "leader": "", "applied_index": 0, "members": [], "cluster_id": ""}
_NODE |= {"commit_index": 0}


def without_names(value: Any) -> Any:
    if isinstance(value, Refusal) and value.code == "WRONG_STATE":
        return value._replace(message="")
    if hasattr(value, "_replace"):
        return value._replace(**{n: v for n, v in _NODE.items() if n in value._fields})
    return value


def test_every_request_is_answered_as_by_a_node() -> None:
    peer, memory = Rig().peer(), Memory()
    for number, request in enumerate(REQUESTS):
        theirs, ours = peer.ask(request), memory.ask(request)
        assert without_names(ours) == without_names(theirs), (number, request)
        assert theirs is not None, (number, request)
    assert memory.pushes == peer.pushes != []


BACKUPS = (commands.BeginBackup, commands.ReadBackup, commands.EndBackup)


def test_there_is_no_disk_to_back_up() -> None:
    memory = Memory()
    assert memory.ask(commands.BeginBackup()).code == "WRONG_STATE"
    assert memory.ask(commands.ReadBackup(1)).code == "NOT_FOUND"
    assert memory.ask(commands.EndBackup(1)).code == "NOT_FOUND"


def test_every_request_is_compared() -> None:
    asked = {MESSAGE_OF[type(request)].code for request in REQUESTS}
    alone = (commands.Hello, commands.GetCluster, *BACKUPS)
    asked |= {MESSAGE_OF[shape].code for shape in alone}
    sent = {code for code, row in MESSAGES.items() if row.sort not in (Sort.INTERNAL, Sort.PUSH)}
    assert asked == sent


def test_the_cluster_is_one_leader() -> None:
    status = Memory().ask(commands.GetCluster())
    assert status.leader == status.node_id == status.members[0][0]
    assert [member[2] for member in status.members] == ["leader"]


def test_hello_tells_the_limits_of_a_node() -> None:
    rig, memory = Rig().peer().connection.hello, Memory().connection.hello
    assert rig is not None
    assert memory is not None
    for name in ("protocol_version", "frame_size_max", "payload_size_max", "max_batch_claim"):
        assert getattr(memory, name) == getattr(rig, name)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100])
def test_garbage_is_told_and_closed(garbage: bytes) -> None:
    memory = Memory()
    memory.session.receive(garbage)
    assert memory.hung_up
    assert memory.answers[NO_REQUEST].code == "INVALID_REQUEST"


def test_nodes_make_the_ids_that_clients_leave_to_them() -> None:
    memory = Memory()
    first = memory.ask(submit(1)._replace(id=None))
    many = memory.ask(commands.SubmitTasks([submit(1)._replace(id=None)] * 2))
    ids = {first.task_id, *(fields[0] for _, fields in many.answers)}
    assert len(ids) == 3


def test_a_month_of_nothing_costs_a_few_entries() -> None:
    memory = Memory()
    memory.ask(commands.RegisterWorker(WORKER, "w", 2))
    memory.ask(submit(1, ttl_ms=60_000))
    before = memory.engine.entry_count
    memory.engine.advance(40 * 86_400_000)
    assert memory.engine.entry_count - before < 10
    assert memory.ask(commands.GetStats()).totals["removed"] == 1
