"""Probes: asked by HTTP at their period, judged by their thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deploy.harness.pod_spec import Probe


class Judge:
    """What a probe's answers mean so far. Pure. `passing` changes only after as many equal answers
    as the probe says."""

    def __init__(self, probe: Probe, *, passing: bool) -> None:
        self._probe = probe
        self.passing = passing
        self._in_a_row = 0
        self._last: bool | None = None

    def note(self, answer: bool) -> bool:
        """An answer came; whether `passing` has a new value, or a failure counts anew."""
        self._in_a_row = self._in_a_row + 1 if answer == self._last else 1
        self._last = answer
        needed = self._probe.successes_min if answer else self._probe.failures_max
        if self._in_a_row < needed or self.passing == answer:
            return False
        self.passing = answer
        return True


async def ask(host: str, probe: Probe) -> bool:
    """One question; whether it was answered with success in time, as kubelets count."""
    try:
        async with asyncio.timeout(probe.timeout_secs):
            reader, writer = await asyncio.open_connection(host, probe.port)
            try:
                head = f"GET {probe.path} HTTP/1.1\r\nHost: {host}:{probe.port}\r\n"
                writer.write(
                    f"{head}User-Agent: kube-probe/1.33\r\nConnection: close\r\n\r\n".encode()
                )
                line = (await reader.readline()).split()
                return len(line) > 1 and 200 <= int(line[1]) < 400
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


async def watch(host: str, probe: Probe, changed: Callable[[bool], None], *, passing: bool) -> None:
    """Asks for ever, and tells each change of what the answers mean; `passing`: the first."""
    judge = Judge(probe, passing=passing)
    await asyncio.sleep(probe.delay_secs)
    while True:
        if judge.note(await ask(host, probe)):
            changed(judge.passing)
        await asyncio.sleep(probe.period_secs)


async def until_passing(host: str, probe: Probe) -> bool:
    """Waits for the first success of a start-up probe; False where it failed too often."""
    await asyncio.sleep(probe.delay_secs)
    for _ in range(probe.failures_max):
        if await ask(host, probe):
            return True
        await asyncio.sleep(probe.period_secs)
    return False
