"""Batches: many submits in few frames, and the answer of each member. Used by client and calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import repeat
from typing import Any

from taskq.client.belief import doubted
from taskq.client.submission import in_frames
from taskq.commands import SubmitTask, SubmitTasks, TaskResults
from taskq.errors import (
    RETRYABLE,
    InvalidRequest,
    ProtocolError,
    Refusal,
    RequestRefused,
    TaskqError,
    as_exception,
)
from taskq.protocol.revive import revive
from taskq.registry import MESSAGE_OF
from taskq.results import BatchReply

# Pause where a refusal names none.
RETRY_SECONDS = 0.05


def doubt_batch(command: Any, reply: BatchReply) -> BatchReply:
    """The reply to a batch of which an earlier attempt may have been carried out."""
    members = command[0] if type(command) in (SubmitTasks, TaskResults) else repeat(command)
    return BatchReply(
        [
            answer
            if answer[0]
            else [False, list(doubted(Refusal(*answer[1]), unknown=True, command=member))]
            for answer, member in zip(reply.answers, members, strict=False)
        ]
    )


def batch_answers(command: Any, reply: BatchReply) -> list[Any]:
    """For each member of a batch its reply or, as a value, the exception that tells why not.

    Raises ProtocolError where the answers do not fit the batch.
    """
    shape = MESSAGE_OF[type(command)].member
    assert shape is not None, command
    if len(reply.answers) != len(command[0]):
        raise ProtocolError(f"{len(reply.answers)} answers to a batch of {len(command[0])}")
    return [
        revive(shape, fields) if accepted else as_exception(revive(Refusal, fields))
        for accepted, fields in reply.answers
    ]


async def submit_all(
    commands: list[SubmitTask | InvalidRequest],
    send: Callable[..., asyncio.Future[Any]],
    seconds: float,
    *,
    retry_full: bool,
) -> list[bytes | TaskqError]:
    """For each command, in order, the id of its task or what went wrong."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    answers: list[bytes | TaskqError] = [
        command.id or b"" if isinstance(command, SubmitTask) else command for command in commands
    ]
    legal = {n: c for n, c in enumerate(commands) if isinstance(c, SubmitTask)}
    rest = list(legal)
    while rest:
        frames = in_frames(legal[n] for n in rest)
        seconds = max(0.0, deadline - loop.time())
        again, pause = [], 0.0
        replies = await _send_frames(frames, send, seconds)
        for position, reply in zip(rest, replies, strict=True):
            answers[position] = reply if isinstance(reply, TaskqError) else reply.task_id
            if isinstance(reply, RequestRefused) and reply.code in RETRYABLE:
                again.append(position)
                pause = max(pause, reply.retry_after, RETRY_SECONDS)
        if not retry_full or loop.time() + pause >= deadline:
            break
        rest = again
        if rest:
            await asyncio.sleep(pause)
    return answers


async def _send_frames(
    frames: list[list[SubmitTask]], send: Callable[..., asyncio.Future[Any]], seconds: float
) -> list[Any]:
    """The answers to all tasks of all frames, in order; a frame that failed counts for each."""
    batches = [SubmitTasks(frame) for frame in frames]
    futures = [send(batch, seconds) for batch in batches]
    try:
        replies = await asyncio.gather(*futures, return_exceptions=True)
    finally:
        for future in futures:
            future.cancel()
    answers: list[Any] = []
    for batch, reply in zip(batches, replies, strict=True):
        if isinstance(reply, TaskqError):
            answers += [reply] * len(batch.tasks)
        elif isinstance(reply, BaseException):
            raise reply
        else:
            answers += batch_answers(batch, reply)
    return answers
