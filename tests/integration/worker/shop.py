"""An app as users write it, for workers of these tests."""

from __future__ import annotations

import os
import threading

import taskq

app = taskq.App(queue="work")


@app.task(name="add")
def add(a: int, b: int = 1) -> int:
    return a + b


@app.task(name="where")
def where() -> list[object]:
    return [os.getpid(), threading.current_thread().name]


@app.task(name="where_async")
async def where_async() -> list[object]:
    return [os.getpid(), threading.current_thread().name]


@app.task(name="size", codec="msgpack")
def size(data: bytes) -> dict[int, int]:
    return {1: len(data)}


@app.task(name="reverse", raw=True)
def reverse(data: bytes) -> bytes:
    return data[::-1]
