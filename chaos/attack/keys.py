"""Rows about keys: none, wrong ones, one that was revoked, one with too small a role."""

from __future__ import annotations

import asyncio
import hashlib

from chaos.attack.samples import requests
from chaos.attack.scene import REVOKE_SECS, Scene
from chaos.attack.stranger import Closed, Stranger
from chaos.attack.tries import Tries
from taskq.commands import ClaimTask, Ping
from taskq.errors import Refusal
from taskq.registry import Role

# So many connections of one row at once.
AT_ONCE = 32


async def no_key(scene: Scene, tries: Tries) -> None:
    """Hello without a key, and requests in the place of Hello and behind it."""
    await _all_hellos(scene, tries, [None] * scene.amount.tries)
    frames = [Stranger.frame(one) for one in requests(Role.ADMIN, Role.PRODUCER, Role.WORKER)]
    greeting = Stranger.greeting(None)
    for port in scene.client_ports:
        for frame in frames:
            for data in (frame, greeting + frame):
                async with await Stranger.connect(port) as stranger:
                    await stranger.throw(data)
                    said = await stranger.rest()
                    tries.judge(said is not None, "closed", "a request without Hello was taken")


async def wrong_key(scene: Scene, tries: Tries) -> None:
    """Keys that are nearly right, of any length, and at random."""
    right = scene.keys["admin"]
    near = [right[:-1], right + "a", right.upper(), right.swapcase(), " " + right, right + "\0"]
    near += [hashlib.sha256(right.encode()).hexdigest(), "sha256:" + right, "*", "", "admin"]
    near += ["\U0010ffff" * 16, "a" * 200, right[3:]]
    count = max(scene.amount.tries - len(near), 0)
    guesses = [f"tq_{scene.chance.randbytes(24).hex()[:32]}" for _ in range(count)]
    await _all_hellos(scene, tries, [*near, *guesses])


async def revoked_key(scene: Scene, tries: Tries) -> None:
    """A session that was let in before, with a claim that waits; then others with the same key."""
    ports = scene.client_ports
    inside = [await Stranger.connect(port) for port in ports * 4]
    for stranger in inside:
        assert await stranger.hello(scene.keys["leaver"]) is None, "it belonged here"
    waits = [
        asyncio.create_task(
            stranger.ask(ClaimTask(bytes([number]) * 16, 1, 1, ["none"], 1, 60_000))
        )
        for number, stranger in enumerate(inside)
    ]
    key = scene.revoke("leaver")
    done, going_on = await asyncio.wait(waits, timeout=REVOKE_SECS)
    for wait in done:
        error = wait.exception()
        tries.judge(isinstance(error, Closed), "closed", f"a claim was answered: {error}")
    for wait in going_on:
        tries.admit("a session with a revoked key goes on")
        wait.cancel()
    for stranger in inside:
        try:
            await stranger.ask(Ping())
            tries.admit("a session with a revoked key is answered")
        except Closed as closed:
            tries.refuse(str(closed))
        stranger.close()
    await _all_hellos(scene, tries, [key] * scene.amount.tries)


async def small_role(scene: Scene, tries: Tries) -> None:
    """Every request of an admin with a worker's and a producer's key, every one of a producer with
    a worker's and the reverse, asked of each node."""
    forbidden = {
        "worker": requests(Role.ADMIN, Role.PRODUCER),
        "producer": requests(Role.ADMIN, Role.WORKER),
    }
    for port in scene.client_ports:
        for holder, asked in forbidden.items():
            async with await Stranger.connect(port) as stranger:
                assert await stranger.hello(scene.keys[holder]) is None
                for one in asked:
                    answer = await stranger.ask(one)
                    why = answer.code if isinstance(answer, Refusal) else ""
                    what = f"{type(one).__name__} with a {holder}'s key: {why or 'done'}"
                    tries.judge(why == "PERMISSION_DENIED", why, what)


async def _all_hellos(scene: Scene, tries: Tries, keys: list[str | None]) -> None:
    """Asks each node in turn, some at a time."""
    places = asyncio.Semaphore(AT_ONCE)
    ports = scene.client_ports

    async def one(number: int, key: str | None) -> None:
        async with places:
            try:
                async with await Stranger.connect(ports[number % len(ports)]) as stranger:
                    refusal = await stranger.hello(key)
            except Closed as closed:
                tries.refuse(str(closed))
                return
            why = "" if refusal is None else refusal.code
            tries.judge(why == "UNAUTHENTICATED", why, f"Hello with {key!r} {why}")

    await asyncio.gather(*(one(number, key) for number, key in enumerate(keys)))
