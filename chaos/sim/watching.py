"""Looks over the shoulder of the real objects: every application of an entry, every log line.

The only place where the simulation reaches into classes of the node, also where they draw at random
or depend on the order of a set of objects; undone at the end.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import structlog

from chaos.sim.disk import SimUnsyncedMark
from chaos.sim.lines import Bag
from chaos.sim.world import World
from cluster.replication.applier import Applier
from cluster.replication.changes import Changes
from cluster.replication.voters import Voters, encode_entry
from cluster.server.remote_session import RemoteSession
from cluster.storage.flags import new_flag_id
from taskq.commands import AddMember, RemoveMember


def _process() -> Any:
    return getattr(asyncio.get_running_loop(), "process", None)


@contextmanager
def watching(world: World) -> Iterator[None]:
    """While it lasts, processes hear of what their appliers apply and of which changes of members
    they are asked for, and logs go into the trace."""
    apply, applied = Applier.apply, Applier.applied
    set_voters, take = Applier.set_voters, Changes.take
    begin = RemoteSession.__init__
    forwarding: Any = import_module("cluster.server.forwarding")
    secrets = forwarding.secrets
    keeper: Any = import_module("cluster.replication.keeper")
    log_store: Any = import_module("cluster.storage.log_store")
    mark, flag_id = keeper.UnsyncedMark, keeper.new_flag_id
    last: dict[int, tuple[bytes, Any]] = {}

    def watched_apply(self: Applier, entry: bytes) -> Any:
        result = apply(self, entry)
        last[id(self)] = (entry, result)
        return result

    def watched_voters(self: Applier, voters: Voters) -> None:
        set_voters(self, voters)
        last[id(self)] = (encode_entry(voters.members), None)

    def watched_applied(self: Applier, index: int, term: int, result: Any) -> None:
        applied(self, index, term, result)
        done = last.pop(id(self), None)
        process = _process()
        if process is not None:
            process.applied(self, index, term, done)

    def watched_take(self: Changes, change: AddMember | RemoveMember, *arguments: Any) -> Any:
        process = _process()
        if process is not None:
            process.asked(self._raft.term, change)
        return take(self, change, *arguments)

    def into_trace(_: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        loop: Any = asyncio._get_running_loop()
        text = " ".join(f"{name}={value}" for name, value in event.items() if name != "exc_info")
        world.tell(f"log {level}", getattr(loop, "name", ""), text)
        error = event.get("exc_info")
        if isinstance(error, BaseException):
            for line in traceback.format_exception(error):
                world.tell("", "", line.rstrip())
        raise structlog.DropEvent

    def ordered_begin(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        self.forwarded = Bag()

    before = structlog.get_config()
    RemoteSession.__init__ = ordered_begin  # type: ignore[method-assign,assignment]
    forwarding.secrets = _Secrets(world)
    keeper.UnsyncedMark = _mark
    flags = world.generator("flags")
    keeper.new_flag_id = log_store.new_flag_id = lambda: new_flag_id(flags.randrange)
    Applier.apply, Applier.applied = watched_apply, watched_applied  # type: ignore[method-assign]
    Applier.set_voters = watched_voters  # type: ignore[method-assign]
    Changes.take = watched_take  # type: ignore[method-assign,assignment]
    structlog.configure(processors=[into_trace], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        Applier.apply, Applier.applied = apply, applied  # type: ignore[method-assign]
        Applier.set_voters, Changes.take = set_voters, take  # type: ignore[method-assign]
        RemoteSession.__init__ = begin  # type: ignore[method-assign]
        forwarding.secrets = secrets
        keeper.UnsyncedMark, keeper.new_flag_id = mark, flag_id
        log_store.new_flag_id = flag_id
        structlog.configure(**before)


class _Secrets:
    """In the place of the module."""

    def __init__(self, world: World) -> None:
        self.randbits = world.generator("streams").getrandbits


def _mark(_: Any) -> SimUnsyncedMark:
    """Of the node that runs now, whatever its path."""
    process = _process()
    return SimUnsyncedMark(process.disk, process.fence)
