"""What depends on the transport, on the loop that a node runs on where it installs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tests.integration.server import test_sockets as on_asyncio

SCENARIOS = (
    on_asyncio.test_pipelined_requests_are_answered_out_of_order,
    on_asyncio.test_over_the_limit_each_connection_is_answered_and_closed,
    on_asyncio.test_who_sends_and_never_reads_is_held_to_bounded_memory,
    on_asyncio.test_a_peer_that_sends_no_more_is_closed,
    on_asyncio.test_stopping_answers_what_waits_and_what_is_in_flight,
    on_asyncio.test_a_burst_of_large_frames_in_pieces,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_on_uvloop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
