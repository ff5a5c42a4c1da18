"""What a simulated node does with the requests of clients: the thinnest server that can be.

Commands go to the log of the leader, reads behind a barrier (or at once, where `stale` is asked
for); a node that does not lead says who does, and the client goes there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.commands import SubmitTask
from taskq.errors import Refusal
from taskq.registry import MESSAGE_OF, Sort

Answer = Callable[[Any], None]


class Server:
    """Serves one replica, on its loop. An answer is a reply or a `Refusal`."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica

    def handle(self, request: Any, answer: Answer) -> None:
        """`answer` is called once, unless the process dies before."""
        replica = self._replica
        if MESSAGE_OF[type(request)].sort is Sort.COMMAND:
            refusal = replica.growth_refused() if type(request) is SubmitTask else None
            if refusal is not None and not replica.is_leader():
                refusal = None
            if refusal is not None:
                answer(refusal)
            else:
                replica.propose(request, self, (None, answer))
        elif request.stale:
            refusal = replica.unavailable()
            answer(replica.machine.ask(request) if refusal is None else refusal)
        else:
            replica.read_barrier(self, (request, answer))

    def deliver(self, tag: Any, value: Any) -> None:
        """What became of a proposal or a barrier."""
        question, answer = tag
        if question is not None and not isinstance(value, Refusal):
            value = self._replica.machine.ask(question)
        answer(value)
