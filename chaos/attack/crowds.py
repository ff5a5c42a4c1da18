"""Rows of too many connections, and of those that misuse the monitoring port."""

from __future__ import annotations

import asyncio
import resource
import socket
import time

from chaos.attack.scene import Scene
from chaos.attack.stranger import Closed, Stranger
from chaos.attack.tries import Tries
from cluster.server.http_port import CONNECTION_COUNT_MAX
from cluster.server.quota import HELLO_SECS

# So many are dialled before the loop turns.
BURST = 100
# After the time for Hello, so long until the last of them is gone. Seconds.
SWEEP_SECS = 15.0
# Addresses of this machine to come from: one has some 28,000 ports.
SOURCES = [f"127.0.0.{number}" for number in range(2, 10)]


async def crowd(scene: Scene, tries: Tries) -> None:
    """Thousands of connections that say nothing, to one node's port for clients, and some hundred
    to its other ports. They hold their places no longer than Hello may take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        ports = [scene.client_ports[0]] * scene.amount.crowd
        ports += [scene.raft_ports[0], scene.monitoring_ports[0]] * (scene.amount.crowd // 20)
        silent = await _dial(ports, tries)
        await _wait_for_end(silent, tries)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _dial(ports: list[int], tries: Tries) -> list[socket.socket]:
    """Those that the kernel took. The others were refused."""
    silent = []
    for number, port in enumerate(ports):
        one = socket.socket()
        one.setblocking(False)
        one.bind((SOURCES[number % len(SOURCES)], 0))
        try:
            one.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass
        except OSError as error:
            tries.refuse(type(error).__name__)
            one.close()
            continue
        silent.append(one)
        if number % BURST == 0:
            await asyncio.sleep(0.005)
    return silent


async def _wait_for_end(silent: list[socket.socket], tries: Tries) -> None:
    ends = time.monotonic() + HELLO_SECS + SWEEP_SECS
    while silent and time.monotonic() < ends:
        going_on = []
        for one in silent:
            try:
                said = one.recv(65_536)
            except BlockingIOError:
                going_on.append(one)
                continue
            except OSError:
                said = b""
            if said:
                going_on.append(one)  # why it is about to be closed
            else:
                tries.refuse("closed")
                one.close()
        silent = going_on
        await asyncio.sleep(0.2)
    for one in silent:
        tries.admit("a connection that says nothing keeps its place")
        one.close()


# --- the monitoring port --------------------------------------------------------------------------

REFUSED = (b"400", b"404", b"405", b"431")


async def http(scene: Scene, tries: Tries) -> None:
    """Paths that lead elsewhere, other methods, heads without end, two requests in one, a crowd of
    half requests. A probe is answered all the time."""
    asked = [
        *(b"GET %s HTTP/1.1\r\n\r\n" % path for path in _PATHS),
        *(b"%s /metrics HTTP/1.1\r\n\r\n" % method for method in _METHODS),
        b"GET /livez HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x00" * 8 + b"\r\n\r\n",
    ]
    for port in scene.monitoring_ports:
        for _ in range(max(scene.amount.tries // 100, 1)):
            for one in asked:
                await _ask(port, one, tries)
        half = []
        for _ in range(CONNECTION_COUNT_MAX * 2):
            half.append(await Stranger.connect(port))
            await half[-1].throw(b"GET /livez HTTP/1.1\r\nX:")
        async with await Stranger.connect(port) as probe:
            await probe.throw(b"GET /livez HTTP/1.1\r\n\r\n")
            said = await probe.rest() or b""
            tries.judge(b" 200 " in said, "a probe is answered", "a probe was kept out")
        for stranger in half:
            stranger.close()


_PATHS = (
    *(b"/", b"//", b"/..", b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/metrics/../.."),
    *(b"/config", b"/debug", b"/admin", b"/livez/", b"/LIVEZ", b"http://127.0.0.1/livez", b"*"),
)
_METHODS = (b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"get", b"")


async def _ask(port: int, asked: bytes, tries: Tries) -> None:
    try:
        async with await Stranger.connect(port) as stranger:
            await stranger.throw(asked)
            said = await stranger.rest() or b""
    except (Closed, TimeoutError):
        tries.refuse("closed")
        return
    status = said.partition(b" ")[2][:3]
    tries.judge(
        not said or status in REFUSED, status.decode() or "closed", f"{asked[:40]!r}: {said[:40]!r}"
    )
