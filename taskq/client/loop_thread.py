"""The thread behind all blocking clients of a process: one event loop, started at first use.

After a fork the child has no such thread; it starts its own when it first needs one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Reply = TypeVar("Reply")

# Windows does not interrupt a wait for a lock: there Ctrl-C is looked for this often.
_POLL_SECONDS = 0.2 if sys.platform == "win32" else None


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="taskq-client", daemon=True
        )
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(started.set)
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, Reply]) -> Reply:
        """Runs a coroutine on the loop and waits for it.

        Ctrl-C cancels it and raises KeyboardInterrupt at once. Raises RuntimeError when called on
        the loop itself, which would wait for ever.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking call inside the client's own event loop")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            while not concurrent.futures.wait((future,), _POLL_SECONDS).done:
                pass
        except BaseException:
            future.cancel()
            raise
        return future.result()


_lock = threading.Lock()
_current: LoopThread | None = None
# What a forked child found of its parent: kept, so that no finaliser touches the parent's sockets.
_inherited: list[LoopThread] = []


def loop_thread() -> LoopThread:
    """The thread of this process; started when there is none."""
    global _current  # noqa: PLW0603  # one per process is its purpose
    current = _current
    if current is None:
        with _lock:
            current = _current
            if current is None:
                current = _current = LoopThread()
    return current


def _forget_parent() -> None:
    global _current, _lock  # noqa: PLW0603
    _lock = threading.Lock()  # another thread of the parent may have held it
    if _current is not None:
        _inherited.append(_current)
        _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
