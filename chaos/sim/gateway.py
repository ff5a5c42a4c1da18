"""How clients reach nodes: one request, one answer, over the same wires as everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chaos.sim.fabric import Fabric
from chaos.sim.node_loop import NodeLoop

if TYPE_CHECKING:
    from chaos.sim.machine import Machine
    from chaos.sim.process import Process

CLIENT = "client"  # the machine that all clients run on
NOT_SENT = "NOT_SENT"  # nothing was asked: the port is closed
LOST = "LOST"  # no answer came: it may or may not have been carried out


class Gateway:
    """Used on the clients' loop."""

    def __init__(self, fabric: Fabric, loop: NodeLoop, machines: Mapping[str, Machine]) -> None:
        self._fabric = fabric
        self._loop = loop
        self._machines = machines

    async def ask(self, name: str, request: Any, timeout_secs: float) -> Any:
        """The reply, a `Refusal`, NOT_SENT or LOST."""
        answer = self._loop.create_future()
        fabric, machine = self._fabric, self._machines[name]

        def arrive() -> None:
            process = machine.process
            if not machine.powered:
                return
            if process is None or not process.serving:
                back(NOT_SENT)
            else:
                deliver(process)

        def deliver(process: Process) -> None:
            process.callers[answer] = lambda: back(LOST)
            process.loop.call_soon(process.serve, request, lambda value: answered(process, value))

        def answered(process: Process, value: Any) -> None:
            if process.callers.pop(answer, None) is None:
                machine.world.violate(f"{name} answered {request!r} twice")
            back(value)

        def back(value: Any) -> None:
            arrives = fabric.world.now + fabric.delay(name, CLIENT, 100)
            fabric.carry(name, CLIENT, arrives, lambda: self._loop.call_soon(settle, value))

        def settle(value: Any) -> None:
            if not answer.done():
                answer.set_result(value)

        arrives = fabric.world.now + fabric.delay(CLIENT, name, 100)
        fabric.carry(CLIENT, name, arrives, arrive)
        try:
            return await asyncio.wait_for(answer, timeout_secs)
        except TimeoutError:
            return LOST
