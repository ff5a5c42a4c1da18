"""Rows about TLS on the ports for clients: plaintext, and certificates that do not belong here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from chaos.attack.scene import Scene
from chaos.attack.stranger import Closed, Stranger
from chaos.attack.tries import Tries

# So many connections at once: the bystander's share of this process is not the attackers' to take.
AT_ONCE = 32
PAGES = (b"GET /metrics HTTP/1.1\r\n\r\n", b"GET /livez HTTP/1.1\r\n\r\n")


async def plaintext(scene: Scene, tries: Tries) -> None:
    """With a good key, in the clear, on each port that speaks TLS."""

    async def hello(port: int) -> None:
        async with await Stranger.connect(port) as stranger:
            refusal = await stranger.hello(scene.keys["admin"])
            tries.judge(refusal is not None, refusal.code if refusal else "", "let in unencrypted")

    async def page(port: int, asked: bytes) -> None:
        async with await Stranger.connect(port) as stranger:
            await stranger.throw(asked)
            said = await stranger.rest() or b""
            status = said.partition(b" ")[2][:3].decode() or "closed"
            tries.judge(status != "200", status, "a page was given in the clear")

    asked = []
    for _ in range(scene.amount.tries // 10):
        asked += [_tried(hello(port), tries) for port in scene.client_ports]
        for port in scene.monitoring_ports:
            for one in PAGES:
                asked.append(_tried(page(port, one), tries))
    await _all(asked)


async def client_certificates(scene: Scene, tries: Tries) -> None:
    """None, one of another authority, one that has expired, that of a node; each with a good key.
    And the right one without a key."""
    papers = scene.papers
    assert papers is not None

    async def hello(port: int, certificate: str | None, key: str | None) -> None:
        async with await Stranger.connect(port, papers.context(certificate)) as stranger:
            refusal = await stranger.hello(key)
            what = f"let in with the certificate {certificate}"
            tries.judge(refusal is not None, refusal.code if refusal else "", what)

    for port in scene.client_ports:
        async with await Stranger.connect(port, papers.context("client")) as friend:
            assert await friend.hello(scene.keys["admin"]) is None, "the right ones come in"
    asked = []
    for _ in range(max(scene.amount.tries // 20, 1)):
        for port in scene.client_ports:
            for certificate in (None, "foreign", "foreign-n2", "expired", "n2"):
                asked.append(_tried(hello(port, certificate, scene.keys["admin"]), tries))
            for key in (None, "tq_wrong"):
                asked.append(_tried(hello(port, "client", key), tries))
    await _all(asked)


async def _all(asked: Iterable[Awaitable[None]]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(attempt: Awaitable[None]) -> None:
        async with places:
            await attempt

    await asyncio.gather(*map(one, asked))


async def _tried(attempt: Awaitable[None], tries: Tries) -> None:
    try:
        await attempt
    except Closed as closed:
        tries.refuse(str(closed))
