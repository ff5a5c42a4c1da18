"""What the wire costs without sockets: microseconds per call, best of several rounds.

`python -m bench.protocol_costs` prints a table. The best round is shown because everything else
that runs on the machine only ever adds.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterator
from functools import partial

from taskq.commands import ClaimTask, Hello, SubmitTask, SubmitTasks, TaskResult
from taskq.protocol.codec import Request
from taskq.protocol.connection import ClientConnection, ServerConnection
from taskq.results import Claimed, ClaimedTask, HelloReply, OutcomeReply, Submitted

ROUND_SECONDS = 0.05
ROUNDS = 15
ID = bytes(range(16))
BATCH = 100
CLAIMED = 10


def opened() -> tuple[ClientConnection, ServerConnection]:
    """Two ends that have said Hello."""
    client, server = ClientConnection(), ServerConnection()
    (hello,) = server.receive(client.greet("bench", None))
    assert isinstance(hello, Request)
    assert isinstance(hello.command, Hello)
    reply = HelloReply(1, "c", "n", "n", 1, [["n", "h:1"]], "0", 30_000, 1, 1, 1, 10, 1_000)
    client.receive(server.accept(hello.request_id, reply))
    return client, server


def microseconds(call: Callable[[], object]) -> float:
    """The best round's time of one call."""
    timer = timeit.Timer(call)
    count = 1
    while timer.timeit(count) < ROUND_SECONDS:
        count *= 4
    return min(timer.repeat(ROUNDS, count)) / count * 1e6


def rows() -> Iterator[tuple[str, int, Callable[[], object]]]:
    """What is measured: name, tasks in one call, the call."""
    client, server = opened()
    submit = SubmitTask(ID, "default", "module.function", b"x" * 100)
    headers = submit._replace(headers={"traceparent": "0" * 55})
    many = SubmitTasks([submit] * BATCH)
    outcome = TaskResult(ID, 12_345, True, b"x" * 20)
    claim = ClaimTask(ID, 5, 5, ["default"], 10, 10_000)
    task = ClaimedTask(ID, 7, "default", "f", b"x" * 100, {}, 150, 1, 30_000, None, 1 << 40)
    claimed, submitted, done = Claimed([task] * CLAIMED, 10), Submitted(ID), OutcomeReply(5)

    commands = {
        "SubmitTask": (submit, 1),
        "SubmitTask with a header": (headers, 1),
        f"SubmitTasks of {BATCH}": (many, BATCH),
        "TaskResult": (outcome, 1),
        f"ClaimTask of {CLAIMED}": (claim, CLAIMED),
    }
    for name, (command, tasks) in commands.items():
        _, frame = client.request(command)
        yield f"client makes {name}", tasks, partial(client.request, command)
        yield f"node reads {name}", tasks, partial(server.receive, frame)
    replies = {
        "Submitted": (0x10, submitted, 1),
        "OutcomeReply": (0x13, done, 1),
        f"Claimed of {CLAIMED}": (0x12, claimed, CLAIMED),
    }
    for name, (code, reply, tasks) in replies.items():
        frame = server.reply(code, 1, reply)
        make = partial(server.reply, code, 1, reply)
        yield f"node makes {name}", tasks, make
        yield f"client reads {name}", tasks, partial(client.receive, frame)


def main() -> None:
    print(f"{'':40} {'µs per call':>12} {'µs per task':>12}")
    for name, tasks, call in rows():
        cost = microseconds(call)
        print(f"{name:40} {cost:12.2f} {cost / tasks:12.2f}")


if __name__ == "__main__":
    main()
