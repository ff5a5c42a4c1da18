"""One node: the only place that builds objects of different packages, and `tq-broker`.

    Config -> DataDirectory -> Replica -> Server, monitors, metrics

Exit codes: 0 stopped as asked, 1 cannot start (configuration, folder, port), 2 usage, 70 a bug or a
damaged disk ended it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import structlog

from cluster.config import Config, ConfigError, load_config, not_served_yet
from cluster.logging import set_up_logging
from cluster.replication.disk_space import DiskSpace
from cluster.replication.replica import Replica
from cluster.server.access import Access
from cluster.server.quota import quota_of
from cluster.server.tcp import BrokerServer
from cluster.settings import disk_policy_of, settings_of
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import StorageError

log = structlog.get_logger(__name__)

# A returning disk write has to get the interpreter lock back from a busy loop. Seconds.
SWITCH_INTERVAL_SECS = 0.0005
FAILED, BROKEN = 1, 70


Start = Callable[[str, int], Awaitable[int]]


class Addresses(NamedTuple):
    """Where a running node can be reached: "host:port"."""

    broker: str
    monitoring: str


class CannotStart(Exception):
    """Why a node does not start, in one sentence that names the setting to change."""


async def serve(config: Config, on_ready: Callable[[Addresses], None], stop: asyncio.Event) -> int:
    """Runs a node until `stop` is set or it cannot go on; the exit code.

    `on_ready` is called once requests are served. Raises CannotStart.
    """
    persistence = config.persistence
    try:
        directory = DataDirectory.open(persistence.data_dir, config.raft.node_id)
    except StorageError as error:
        raise CannotStart(f"{error} (persistence.data_dir)") from error
    with directory:
        replica = Replica(
            directory,
            disk_policy_of(config),
            DiskSpace(directory.free_bytes, persistence.disk_reserve_bytes),
            settings_of(config),
            compact_secs=persistence.compact_interval_secs if persistence.auto_compact else None,
        )
        try:
            await replica.start()
        except StorageError as error:
            raise CannotStart(f"{error}. Nothing was changed; `taskq repair` shows more") from error
        try:
            return await _serve(config, replica, on_ready, stop)
        finally:
            await replica.stop()


async def _serve(
    config: Config,
    replica: Replica,
    on_ready: Callable[[Addresses], None],
    stop: asyncio.Event,
) -> int:
    server = BrokerServer(
        replica, Access.of(config.auth), quota_of(config), server_version=version("taskq-cluster")
    )
    addresses = await _listen(config, replica, server)
    on_ready(addresses)
    log.info(
        "serving",
        broker=addresses.broker,
        monitoring=addresses.monitoring,
        applied_index=replica.applied_index,
        term=replica.term,
    )
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(replica.stopped.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    log.info("stopping")
    await server.stop()
    if replica.fatal is not None:
        return BROKEN
    await replica.stop()
    log.info("stopped")
    return 0


async def _listen(config: Config, replica: Replica, server: BrokerServer) -> Addresses:
    broker = config.broker
    port = await _bind("broker.port", broker.host, broker.port, server.start)
    address = broker.advertise or _address(broker.host, port)
    replica.address = address
    return Addresses(address, "")


async def _bind(setting: str, host: str, port: int, start: Start) -> int:
    try:
        return await start(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} on {host} is taken by another program: change {setting}"
        else:
            why = f"cannot listen on {host} port {port}: {error.strerror or error} ({setting})"
        raise CannotStart(why) from error


def _address(host: str, port: int) -> str:
    """What a client on this machine would connect to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _until_signal(config: Config, ready_file: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def ready(addresses: Addresses) -> None:
        if ready_file is not None:
            _write_ready_file(ready_file, addresses)

    try:
        return await serve(config, ready, stop)
    finally:
        if ready_file is not None:
            _remove(ready_file)


def _write_ready_file(path: Path, addresses: Addresses) -> None:
    content = {**addresses._asdict(), "pid": os.getpid()}
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(content) + "\n")
    aside.replace(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def run(config: Config, ready_file: Path | None = None) -> int:
    """Runs a node in this process until SIGTERM or SIGINT; the exit code."""
    set_up_logging(config.monitoring, node_id=config.raft.node_id)
    for found in not_served_yet(config):
        if found.refuse:
            log.error("cannot start", why=found.message)
            return FAILED
    for warning in config.warnings():
        log.warning(warning)
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_until_signal(config, ready_file))
    except CannotStart as error:
        log.error("cannot start", why=str(error))
        return FAILED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "-c", "path", type=click.Path(path_type=Path), help="YAML file.")
@click.option(
    "--set", "-s", "given", multiple=True, metavar="KEY=VALUE", help="Such as broker.port=6379."
)
@click.option("--ready-file", type=click.Path(path_type=Path), help="Written while serving.")
def main(path: Path | None, given: tuple[str, ...], ready_file: Path | None) -> None:
    """Run one broker node: from a file, the environment (TASKQ_BROKER__PORT=...) and --set."""
    overrides: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--set {pair}: expected KEY=VALUE, such as broker.port=6379")
        overrides[key.strip()] = value
    try:
        config = load_config(path, os.environ, overrides)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    sys.exit(run(config, ready_file))


if __name__ == "__main__":
    main()
