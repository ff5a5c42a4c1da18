"""From what a caller says about a task to the `SubmitTask` that goes on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskq import limits
from taskq.client.identifier import TaskIdLike, new_task_id, task_id_bytes
from taskq.client.moment import Duration, duration_ms, wall_ms
from taskq.commands import SubmitTask
from taskq.errors import ErrorCode, InvalidRequest
from taskq.registry import MESSAGE_OF

PRIORITIES = {"high": 255, "normal": limits.PRIORITY_DEFAULT, "low": 50}

# What a task takes in a frame beside its texts and bytes: id, numbers, heads of fields.
_OVERHEAD_SIZE = 120

_row = MESSAGE_OF[SubmitTask]
_NO_HEADERS: dict[str, str] = {}


@dataclass(slots=True, kw_only=True)
class TaskSpec:
    """A task to submit with `submit_many`; the fields are the arguments of `submit`."""

    queue: str
    payload: bytes = b""
    name: str = ""
    priority: str | int = "normal"
    delay: Duration | None = None
    run_at: datetime | None = None
    ttl: Duration | None = None
    run_timeout: Duration | None = None
    max_retries: int = 3
    backoff: Duration = 1.0
    backoff_max: Duration = 3600.0
    headers: Mapping[str, str] | None = None
    keep_result: bool = True
    task_id: TaskIdLike | None = None

    def command(self) -> SubmitTask:
        """The command, with an id. Raises as `submit_command`."""
        return submit_command(**{name: getattr(self, name) for name in self.__slots__})


def submit_command(
    queue: str,
    payload: bytes = b"",
    *,
    name: str = "",
    priority: str | int = "normal",
    delay: Duration | None = None,
    run_at: datetime | None = None,
    ttl: Duration | None = None,
    run_timeout: Duration | None = None,
    max_retries: int = 3,
    backoff: Duration = 1.0,
    backoff_max: Duration = 3600.0,
    headers: Mapping[str, str] | None = None,
    keep_result: bool = True,
    task_id: TaskIdLike | None = None,
) -> SubmitTask:
    """The command, with an id made here, so that every repeat names the same task.

    Raises TypeError or ValueError for what cannot be converted, InvalidRequest for what the
    protocol does not allow; both name the field.
    """
    if delay is not None and run_at is not None:
        raise ValueError("delay, run_at: give one of them")
    if type(payload) is not bytes:
        payload = _as_bytes(payload)
    command = SubmitTask(
        new_task_id() if task_id is None else task_id_bytes(task_id),
        queue,
        name,
        payload,
        priority if type(priority) is int else _priority(priority),
        0 if delay is None else duration_ms(delay, "delay"),
        None if run_at is None else wall_ms(run_at, "run_at"),
        None if ttl is None else duration_ms(ttl, "ttl"),
        None if run_timeout is None else duration_ms(run_timeout, "run_timeout"),
        max_retries,
        1000 if backoff == 1.0 else duration_ms(backoff, "backoff"),
        3_600_000 if backoff_max == 3600.0 else duration_ms(backoff_max, "backoff_max"),
        _NO_HEADERS if not headers else dict(headers),
        keep_result,
    )
    # Here and not only at the node: there, one wrong task would spoil the frame of all others.
    fields = list(command)
    if not _row.check(fields):
        try:
            _row.parse(fields)
        except ValueError as error:
            raise InvalidRequest(ErrorCode.INVALID_REQUEST.value, f"submit: {error}") from None
    return command


def _as_bytes(payload: object) -> bytes:
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise TypeError(f"payload: bytes, not {type(payload).__name__}; encode it first")


def _priority(value: object) -> int:
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    raise ValueError(f"priority: 0..255 or one of {', '.join(PRIORITIES)}, not {value!r}")


def as_command(spec: TaskSpec | Mapping[str, Any]) -> SubmitTask | InvalidRequest:
    """The command of a spec, or, as a value, what is wrong with it."""
    try:
        return (spec if isinstance(spec, TaskSpec) else TaskSpec(**spec)).command()
    except InvalidRequest as error:
        return error
    except (TypeError, ValueError) as error:
        return InvalidRequest(ErrorCode.INVALID_REQUEST.value, f"submit: {error}")


def in_frames(commands: Iterable[SubmitTask]) -> list[list[SubmitTask]]:
    """Commands in order, cut into batches of at most 1,000 tasks and about 4 MiB.

    A larger frame would become an entry that holds up heartbeats.
    """
    frames: list[list[SubmitTask]] = []
    batch: list[SubmitTask] = []
    batch_size = 0
    for command in commands:
        size = _OVERHEAD_SIZE + len(command.payload) + len(command.queue) + len(command.name)
        size += sum(len(key) + len(value) + 8 for key, value in command.headers.items())
        full = len(batch) == limits.BATCH_COUNT_MAX or batch_size + size > limits.ENTRY_SIZE_MAX
        if batch and full:
            frames.append(batch)
            batch, batch_size = [], 0
        batch.append(command)
        batch_size += size
    if batch:
        frames.append(batch)
    return frames
