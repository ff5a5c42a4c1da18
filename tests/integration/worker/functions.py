"""What the workers of these tests run; loaded by name in pool processes, too."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from taskq.worker import current_task, raw


def add(a: int, b: int = 0) -> int:
    print("printing must not disturb the pipe to the parent")  # noqa: T201
    return a + b


def fail(text: str) -> None:
    raise RuntimeError(text)


def crash(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(30)


def quit_hard(status: int) -> None:
    os._exit(status)


def sys_exit() -> None:
    sys.exit("the library wants to end the program")


@raw
def reverse(payload: bytes) -> bytes:
    return payload[::-1]


def hold_interpreter_lock(secs: float) -> str:
    """Keeps the lock as a C extension would: `usleep` through a PyDLL does not release it."""
    ctypes.PyDLL(None).usleep(int(secs * 1e6))
    return "held"


def sleep(secs: float) -> str:
    time.sleep(secs)
    return "slept"


def wait_for_cancel() -> str:
    deadline = time.monotonic() + 20
    while not current_task().is_cancelled:
        if time.monotonic() > deadline:
            return "nobody cancelled"
        time.sleep(0.01)
    return "stopped by the flag"


def ignore_signals(path: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(path).write_text("started")
    time.sleep(30)


def start_child(path: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    Path(path + ".tmp").write_text(str(child.pid))
    Path(path + ".tmp").rename(path)
    child.wait()


def pid() -> int:
    return os.getpid()


def who() -> list[object]:
    task = current_task()
    return [str(task.id), task.queue, task.attempt, task.headers.get("traceparent")]


def unwritable() -> object:
    return {1, 2}


async def nap(secs: float) -> str:
    await asyncio.sleep(secs)
    return "napped"


async def async_who() -> list[object]:
    await asyncio.sleep(0)
    return who()


def block(secs: float) -> str:
    """Busy or not, as it is told; one name for short and long runs."""
    time.sleep(secs)
    return "done"


if "TASKQ_TEST_SLOW_START" in os.environ and Path(os.environ["TASKQ_TEST_SLOW_START"]).exists():
    time.sleep(2)


def crash_if(wanted: bool) -> str:
    if wanted:
        os._exit(7)
    return "whole"


def extend(secs: float) -> float:
    return current_task().extend(secs).total_seconds()


async def extend_async(secs: float) -> float:
    return (await current_task().extend_async(secs)).total_seconds()


async def block_the_loop(secs: float) -> str:
    time.sleep(secs)  # noqa: ASYNC251 - the mistake that the test is about
    return "blocked"


def note(path: str, text: str) -> None:
    Path(path).write_text(text)


async def note_cancellation(path: str) -> None:
    note(path + ".started", "")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        note(path, "cancelled")
        raise
