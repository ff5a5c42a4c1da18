"""A web application that has numbers factored by tasks. `uvicorn web:web` serves it.

    POST   /factorings            {"number": 12}    202, and where to ask
    GET    /factorings/ID?wait=5                    200 once it has ended, 202 before
    DELETE /factorings/ID                           200 if it has ended, 202 if it is stopping

Where the cluster cannot be reached, or has no room, the answer is 503 with Retry-After. Where
nobody knows whether a submit was carried out, it is 504: POST again with the same Idempotency-Key,
and there will be one task.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

from factoring import factor
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import taskq

# The deadline of a request to the cluster, repeats included: a change of leader takes less, and a
# person waits no longer. Seconds.
REQUEST_SECS = 2.0
# How long a GET may wait for the end of a task. Seconds.
WAIT_SECS_MAX = 30.0

ENDINGS = {
    taskq.TaskFailed: "failed",
    taskq.TaskCancelled: "cancelled",
    taskq.TaskExpired: "expired",
}
STATUSES = {
    taskq.NotFound: 404,
    taskq.QueueFull: 503,
    taskq.Unavailable: 503,
    taskq.ConnectionFailed: 503,
    taskq.OutcomeUnknown: 504,
}


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncIterator[None]:
    """One client for all requests. It connects at the first one, so that the application starts
    without the cluster, too."""
    async with taskq.AsyncClient(timeout=REQUEST_SECS, name="web") as client:
        web.state.client = client
        yield


web = FastAPI(title="Prime factors", lifespan=lifespan)


def _client(request: Request) -> taskq.AsyncClient:
    client: taskq.AsyncClient = request.app.state.client
    return client


Client = Annotated[taskq.AsyncClient, Depends(_client)]


class Wanted(BaseModel):
    """What to factor."""

    number: int = Field(ge=2, lt=2**63)


class Factoring(BaseModel):
    """A task, as people see it. `factors` are there once it is completed, `error` if it failed."""

    id: UUID
    state: str
    factors: list[int] | None = None
    error: str | None = None


@web.post("/factorings", status_code=202)
async def submit(
    wanted: Wanted,
    client: Client,
    response: Response,
    idempotency_key: Annotated[UUID | None, Header()] = None,
) -> Factoring:
    """Submits a task; the key, if there is one, becomes its id."""
    task_id = idempotency_key or uuid4()
    spec = factor.options(task_id=task_id).spec(wanted.number)
    try:
        await client.submit_spec(spec)
    except taskq.OutcomeUnknown:
        text = f"It may have been submitted. POST it again with Idempotency-Key: {task_id}"
        raise HTTPException(504, text) from None
    response.headers["Location"] = f"/factorings/{task_id}"
    return Factoring(id=task_id, state="submitted")


@web.get("/factorings/{task_id}")
async def look(
    task_id: UUID,
    client: Client,
    response: Response,
    wait: Annotated[float, Query(ge=0, le=WAIT_SECS_MAX)] = 0,
) -> Factoring:
    """The task, after at most `wait` seconds of waiting for its end."""
    try:
        result = await client.result(task_id, timeout=wait)
    except taskq.TaskError as error:
        reason = error.message.splitlines()[-1]  # the line that ends the worker's traceback
        return Factoring(id=task_id, state=ENDINGS[type(error)], error=reason)
    except TimeoutError:
        response.status_code = 202
        response.headers["Retry-After"] = "1"
        status = await client.status(task_id)
        return Factoring(id=task_id, state=status.state.name.lower())
    return Factoring(id=task_id, state="completed", factors=json.loads(result or b"null"))


@web.delete("/factorings/{task_id}")
async def cancel(task_id: UUID, client: Client, response: Response) -> Factoring:
    """Cancels a task that waits; asks one that runs to stop. What has ended stays as it is."""
    cancelled = await client.cancel(task_id)
    if cancelled.requested:
        response.status_code = 202
    return Factoring(id=task_id, state=cancelled.state.name.lower())


@web.exception_handler(taskq.TaskqError)
async def refused(_: Request, error: taskq.TaskqError) -> JSONResponse:
    """What the cluster did not do, as HTTP says it."""
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 502)
    seconds = max(1, math.ceil(getattr(error, "retry_after", 0)))
    headers = {"Retry-After": str(seconds)} if status == 503 else {}
    return JSONResponse({"detail": str(error)}, status, headers)
