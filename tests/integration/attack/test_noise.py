"""Noise, requests without sense, clients that behave as nobody should: the node serves on, without
a traceback in its log."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import commands, limits
from taskq.errors import ProtocolError, Refusal
from taskq.protocol.connection import ClientConnection
from tests.integration.attack.victim import Stranger, Victim, under_attack

WORKER = b"n" * 16
TASK = b"t" * 16
U63 = (1 << 63) - 1
MOST = limits.DURATION_MS_MAX


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    home: Path = tmp_path_factory.mktemp("noise")
    with under_attack(home) as victim:
        yield victim


REQUESTS: list[Any] = [
    commands.SubmitTask(TASK, "q", payload=b"p", headers={"a": "b"}),
    commands.SubmitTasks([list(commands.SubmitTask(TASK, "q"))]),  # type: ignore[list-item]
    commands.ClaimTask(WORKER, 1, 1, ["q"]),
    commands.TaskResult(TASK, 1, True),
    commands.Heartbeat(WORKER, [1, 2, 3]),
    commands.RegisterWorker(WORKER),
    commands.CancelTask(TASK),
    commands.QueryStatus(TASK),
    commands.ListTasks(),
    commands.ListDead(),
    commands.PurgeQueue("q"),
    commands.RedriveDead([TASK]),
    commands.CreateQueue("q2"),
]


def test_random_bytes(victim: Victim) -> None:
    lot = random.Random(1)
    for size in [1, 4, 5, 6, 100, 5_000, 70_000] * 20:
        with socket.create_connection(("127.0.0.1", victim.port)) as noise:
            noise.sendall(lot.randbytes(size))
    victim.check()


def test_mutated_requests(victim: Victim) -> None:
    lot = random.Random(2)
    for _ in range(150):
        stranger = Stranger(victim.port)
        pairs = [stranger.connection.request(lot.choice(REQUESTS)) for _ in range(40)]
        stream = bytearray(b"".join(frame for _, frame in pairs))
        for _ in range(lot.randint(1, 10)):
            stream[lot.randrange(len(stream))] = lot.randrange(256)
        stranger.socket.sendall(stream)
        stranger.close()
    victim.check()


def test_requests_before_after_and_instead_of_hello(victim: Victim) -> None:
    hello = ClientConnection().greet("x", None)
    for first in (hello * 2, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", hello[:-1], hello + b"\x00"):
        with socket.create_connection(("127.0.0.1", victim.port)) as noise:
            noise.sendall(first)
            noise.shutdown(socket.SHUT_WR)
            noise.settimeout(5)
            while noise.recv(1_000):
                pass
    victim.check()


ODD: list[tuple[Any, str]] = [
    (commands.CreateQueue("x" * 200), ""),
    (commands.CreateQueue("x" * 201), "INVALID_REQUEST"),
    (commands.CreateQueue(""), "INVALID_REQUEST"),
    (commands.CreateQueue("a\n"), "INVALID_REQUEST"),
    (commands.CreateQueue("a\x00"), "INVALID_REQUEST"),
    (commands.CreateQueue("\u202e"), "INVALID_REQUEST"),
    (commands.CreateQueue("aged", MOST, limits.LEASE_MS_MAX), ""),
    (commands.SubmitTask(b"a" * 16, "aged", priority=0), ""),
    (commands.SubmitTask(b"b" * 16, "q", priority=256), "INVALID_REQUEST"),
    (commands.SubmitTask(b"c" * 16, "q", run_at_wall_ms=limits.WALL_MS_MAX), ""),
    (commands.SubmitTask(b"d" * 16, "q", delay_ms=MOST + 1), "INVALID_REQUEST"),
    (
        commands.SubmitTask(
            *(b"e" * 16, "q", "\u202e\x00" + "\U0010ffff" * 198, b"", 255, MOST, None, MOST, MOST),
            *(
                1_000,
                MOST,
                MOST,
                {f"{n:02}" + "\U0010ffff" * 1022: "\x00" * 1024 for n in range(32)},
            ),
        ),
        "",
    ),
    (commands.ClaimTask(WORKER, U63, U63, ["q"] * 100, U63, 0, limits.LEASE_MS_MAX), ""),
    (commands.ClaimTask(WORKER, U63, 1, ["q"]), ""),
    (commands.ClaimTask(WORKER, 1, 1, ["q"]), ""),
    (commands.ClaimTask(WORKER, U63 + 1, 1, ["q"]), "INVALID_REQUEST"),
    (commands.Heartbeat(WORKER, [U63] * 10_000, U63, 1_000_000, U63), ""),
    (commands.Heartbeat(WORKER, list(range(10_001))), "INVALID_REQUEST"),
    (commands.RegisterWorker(WORKER, "\u202e\x00", 100_000, 3_600_000), ""),
    (commands.Nack(b"z" * 16, U63, MOST), "NOT_FOUND"),
    (commands.ExtendLease(b"z" * 16, U63, limits.LEASE_MS_MAX), "NOT_FOUND"),
    (commands.ListTasks(None, None, b"\xff" * 1024), ""),
    (commands.ListTasks(None, None, b""), ""),
    (commands.ListTasks(None, None, b"x" * 1025), "INVALID_REQUEST"),
    (commands.ListDead(None, b"\x00"), ""),
    (commands.ListQueues(b"\xff\xfe"), ""),
    (commands.ListWorkers(b"x"), ""),
    (commands.ListTasks(), ""),
    (commands.ListWorkers(), ""),
]


def test_every_number_and_text_at_its_limit(victim: Victim) -> None:
    stranger = Stranger(victim.port)
    for command, code in ODD:
        answer = stranger.ask(command)
        assert (answer.code if isinstance(answer, Refusal) else "") == code, (command, answer)
    victim.check([stranger])


def test_error_texts_of_a_whole_frame(victim: Victim) -> None:
    stranger, worker = Stranger(victim.port), b"e" * 16
    stranger.ask(commands.SubmitTask(b"f" * 16, "errors", max_retries=3, backoff_ms=0))
    text = "\u20ac" * (limits.FRAME_SIZE_MAX // 3 - 100)
    for number in (1, 2, 3):
        claim = commands.ClaimTask(worker, number, number, ["errors"], 1, 5_000)
        (task,) = stranger.ask(claim).tasks
        failed = commands.TaskResult(task.task_id, task.token, False, None, text)
        assert not isinstance(stranger.ask(failed), Refusal)
    view = stranger.ask(commands.QueryStatus(b"f" * 16))
    assert [len(each.error.encode()) <= limits.ERROR_SIZE_MAX for each in view.attempts] == [
        True
    ] * 3
    victim.check([stranger])


def test_clients_that_ask_and_leave(victim: Victim) -> None:
    for number in range(150):
        stranger = Stranger(victim.port)
        stranger.send(
            commands.SubmitTask(number.to_bytes(16, "big"), "left"),
            commands.ClaimTask(number.to_bytes(16, "big"), 1, 1, ["nothing"], 1, 60_000),
            commands.QueryStatus(b"a" * 16, 60_000),
        )
        stranger.close()
    victim.check()


def test_a_pause_while_a_thousand_claims_wait(victim: Victim) -> None:
    crowd, other = Stranger(victim.port), Stranger(victim.port)
    other.ask(commands.CreateQueue("paused"))
    waits = crowd.send(
        *[
            commands.ClaimTask(number.to_bytes(16, "big"), 1, 1, ["paused"], 1, 1_500)
            for number in range(900)
        ]
    )
    for _ in range(50):
        other.send(commands.PauseQueue("paused"), commands.ResumeQueue("paused"))
    other.ask(commands.PauseQueue("paused"))
    other.ask(commands.SubmitTask(b"p" * 16, "paused"))
    other.ask(commands.ResumeQueue("paused"))
    granted = [task for each in waits for task in crowd.answer(each).tasks]
    assert [task.task_id for task in granted] == [b"p" * 16]
    victim.check([crowd, other])


def test_a_bomb_ends_its_connection_alone(victim: Victim) -> None:
    bomb = b"\x94\x01\x05\x00\xdc\x01\xf4" + (b"\xdc\x07\x6c" + b"\x90" * 1_900) * 500
    for _ in range(10):
        stranger = Stranger(victim.port)
        stranger.socket.sendall((len(bomb) + 1).to_bytes(4, "big") + b"\x11" + bomb)
        with pytest.raises((ConnectionError, ProtocolError)):
            stranger.answer(5)
        stranger.close()
    victim.check()
