"""Small histories, made by hand, for the tests of the rules."""

from __future__ import annotations

from typing import Any

from chaos.history import OK, REFUSED, UNKNOWN, Call, Final, History

A, B, C, D = "aa" * 16, "bb" * 16, "cc" * 16, "dd" * 16
CRC = 7


def call(kind: str, start: float, reply: dict[str, Any] | None = None, **args: Any) -> Call:
    return Call(kind, start, args, start + 0.01, OK, "", reply or {})


def submit(
    task_id: str, start: float, delay_secs: float = 0.0, queue: str = "q", priority: int = 150
) -> Call:
    fields = {"queue": queue, "priority": priority, "size": 4, "crc": CRC, "delay_secs": delay_secs}
    return call("submit", start, id=task_id, **fields)


def claim(start: float, *grants: tuple[str, int], worker: str = "w1", lease: float = 1.0) -> Call:
    found = [
        {"id": task_id, "token": token, "queue": "q", "lease_secs": lease, "crc": CRC}
        for task_id, token in grants
    ]
    return call("claim", start, {"grants": found}, worker=worker, lease_secs=lease, dead_secs=2.0)


def complete(task_id: str, token: int, start: float) -> Call:
    reply = {"state": "COMPLETED"}
    return call("complete", start, reply, id=task_id, token=token, result=f"{task_id} by {token}")


def fail(task_id: str, token: int, start: float, state: str = "RETRYING") -> Call:
    args = {"id": task_id, "token": token, "retry": state == "RETRYING", "backoff_secs": 0.2}
    return call("fail", start, {"state": state}, **args)


def release(task_id: str, token: int, start: float, delay_secs: float = 0.0) -> Call:
    reply = {"state": "SCHEDULED" if delay_secs else "READY"}
    return call("release", start, reply, id=task_id, token=token, delay_secs=delay_secs)


def heartbeat(token: int, start: float, *, valid: bool = True) -> Call:
    reply: dict[str, Any] = {"invalid": [] if valid else [token], "cancel": []}
    return call("heartbeat", start, reply, worker="w1", tokens=[token])


def status(task_id: str, start: float, state: str, **more: Any) -> Call:
    return call("status", start, {"state": state, **more}, id=task_id)


def unknown(one: Call) -> Call:
    """The same call, to which no answer came."""
    one.outcome, one.reply = UNKNOWN, {}
    return one


def refused(one: Call, code: str) -> Call:
    """The same call, refused."""
    one.outcome, one.code, one.reply = REFUSED, code, {}
    return one


def task(
    state: str, token: int = 0, attempt: int = 0, result: str | None = None, priority: int = 150
) -> dict[str, Any]:
    fields = {"state": state, "queue": "q", "size": 4, "priority": priority, "token": token}
    return {**fields, "attempt": attempt, "cancel_requested": False, "result": result}


def final(tasks: dict[str, dict[str, Any]]) -> Final:
    """A read-out of these tasks that agrees with itself."""
    states = [found["state"].lower() for found in tasks.values()]
    counts = {name: states.count(name) for name in ("ready", "completed", "dead", "cancelled")}
    totals = {"submitted": len(tasks), "removed": 0, "completed": counts["completed"]}
    statuses = {task_id: found["state"] for task_id, found in tasks.items()}
    return Final(tasks, statuses, {**counts, "leased": 0}, totals)


def good() -> History:
    """A: completed under its second token after the first ran out. B: failed, retried, dead.
    C: cancelled while it waited. D: unknown submit that was carried out, still ready."""
    calls = [
        *(submit(A, 0.0), submit(B, 0.1, 0.5), submit(C, 0.2, 30.0), unknown(submit(D, 0.3))),
        *(claim(1.0, (A, 1)), claim(1.1, (B, 2))),
        fail(B, 2, 1.2),
        call("cancel", 1.3, {"state": "CANCELLED", "requested": False}, id=C, force=False),
        *(status(A, 1.4, "LEASED"), status(C, 1.5, "CANCELLED")),
        heartbeat(1, 1.5),
        *(claim(2.6, (A, 3), worker="w2"), claim(2.8, (B, 4), worker="w2")),
        Call("complete", 2.9, {"id": A, "token": 1, "result": "x"}, 2.91, REFUSED, "STALE_TOKEN"),
        *(fail(B, 4, 3.0, "DEAD"), complete(A, 3, 3.1), status(A, 3.2, "COMPLETED")),
    ]
    tasks = {
        A: task("COMPLETED", 3, 2, f"{A} by 3"),
        B: task("DEAD", 4, 2),
        C: task("CANCELLED"),
        D: task("READY"),
    }
    return History(calls, [], final(tasks))
