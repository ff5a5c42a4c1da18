"""One node: the only place that builds objects of different packages, and `tq-broker`.

    Config -> DataDirectory -> Replica -> Server, monitors, metrics

Exit codes: 0 stopped as asked, 1 cannot start (configuration, folder, port, version), 2 usage, 70 a
bug or a damaged disk ended it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import structlog

from cluster.certificates.care import CertificateCare
from cluster.certificates.errors import CertificatesRefused
from cluster.config import Config, ConfigError, load_config
from cluster.config_reload import ConfigReload
from cluster.logging import set_up_logging
from cluster.monitors.duties import standard_duties
from cluster.monitors.runner import Runner
from cluster.place import Place, place_of_clients, place_of_monitoring, place_of_raft
from cluster.process import (
    ReadyFile,
    allow_open_files,
    bound_memory,
    fill_standard_streams,
    signals_to,
)
from cluster.replication.build import OtherVersionNeeded
from cluster.replication.disk_space import DiskSpace
from cluster.replication.founding_record import claim_folder
from cluster.replication.group_settings import GroupSettings
from cluster.replication.replica import Replica
from cluster.replication.surroundings import Surroundings
from cluster.server.access import Access
from cluster.server.certificate_metrics import CertificateMetrics
from cluster.server.health import Health
from cluster.server.http_port import HttpPort, probe
from cluster.server.metrics import Metrics, probes
from cluster.server.quota import quota_of
from cluster.server.tcp import BrokerServer
from cluster.settings import api_certificates_of, disk_policy_of, group_of, settings_of
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, StorageError
from cluster.watched_files import WatchedFiles

log = structlog.get_logger(__name__)

# A returning disk write has to get the interpreter lock back from a busy loop. Seconds.
SWITCH_INTERVAL_SECS = 0.0005
# The defaults walk all objects every few thousand requests, 80 ms at a time, to find next to no
# garbage: requests make no cycles.
GC_THRESHOLDS = (20_000, 50, 100)
# A planned stop waits so long for another node to take over; it bounds itself, but for a disk that
# fails just then. Seconds.
HAND_OVER_SECS = 5.0
FAILED, BROKEN = 1, 70


Start = Callable[[str, int], Awaitable[int]]


class Addresses(NamedTuple):
    """Where a running node can be reached: "host:port"."""

    broker: str
    monitoring: str


class Monitoring(NamedTuple):
    """Whoever asks is answered from before the folder is opened until it is closed: a long recovery
    can be watched. `address`: "host:port"."""

    health: Health
    port: HttpPort
    address: str


class CannotStart(Exception):
    """Why a node does not start, in one sentence that names the setting to change."""


async def serve(
    config: Config,
    on_ready: Callable[[Addresses], None],
    stop: asyncio.Event,
    files: WatchedFiles,
) -> int:
    """Runs a node until `stop` is set or it cannot go on; the exit code.

    `on_ready` is called once requests are served. Raises CannotStart.
    """
    persistence = config.persistence
    try:
        group = group_of(config)
        raft = None if group is None else group.trust.certificates
        care = CertificateCare(asyncio.get_running_loop(), api_certificates_of(config), raft)
    except CertificatesRefused as error:
        raise CannotStart(f"the certificates cannot be used: {error}") from error
    with _open_folder(config, group) as directory:
        replica = Replica(
            directory,
            disk_policy_of(config),
            DiskSpace(directory.free_bytes, persistence.disk_reserve_bytes),
            settings_of(config),
            compact_secs=persistence.compact_interval_secs if persistence.auto_compact else None,
            group=group,
            surroundings=Surroundings(aside=asyncio.to_thread),
        )
        monitoring = await _monitor(config, replica, care)
        try:
            await _start(config, replica)
            try:
                return await _serve(config, replica, monitoring, care, on_ready, stop, files)
            finally:
                await replica.stop()
        finally:
            monitoring.health.stop()
            await monitoring.port.stop()


def _open_folder(config: Config, group: GroupSettings | None) -> DataDirectory:
    try:
        directory = DataDirectory.open(config.persistence.data_dir, config.raft.node_id)
        try:
            claim_folder(directory, member=group is not None)
        except BaseException:
            directory.close()
            raise
    except StorageError as error:
        raise CannotStart(f"{error} (persistence.data_dir)") from error
    return directory


async def _start(config: Config, replica: Replica) -> None:
    """A group of one leads when this returns; a member listens for the others."""
    try:
        await replica.start()
    except DataDamaged as error:
        raise CannotStart(f"{error}. No data was changed; `taskq repair` shows more") from error
    except StorageError as error:
        raise CannotStart(f"{error} (persistence.data_dir)") from error
    except OtherVersionNeeded as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(place_of_raft(config).obstacle(error)) from error
    except ValueError as error:
        raise CannotStart(f"{error} (raft.peers, broker.host)") from error


async def _serve(
    config: Config,
    replica: Replica,
    monitoring: Monitoring,
    care: CertificateCare,
    on_ready: Callable[[Addresses], None],
    stop: asyncio.Event,
    files: WatchedFiles,
) -> int:
    loop = asyncio.get_running_loop()
    server = BrokerServer(
        replica,
        Access.of(config.auth),
        quota_of(config),
        server_version=version("taskq-cluster"),
        on_failure=replica.fail,
    )
    metrics = Metrics(replica, server, replica.free_bytes)
    metrics.registry.register(CertificateMetrics(care.ports))
    monitoring.port.pages["/metrics"] = metrics.page
    runner = Runner(replica, standard_duties(), loop, replica.fail)
    try:
        addresses = Addresses(await _listen(config, replica, server, care), monitoring.address)
        runner.start()
        care.start(files)
        files.start()
        ConfigReload(config, server.replace_keys).start(files)
        monitoring.health.started = True
        on_ready(addresses)
        log.info(
            "serving", **addresses._asdict(), applied_index=replica.applied_index, term=replica.term
        )
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(replica.stopped.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    finally:
        began = loop.time()
        log.info("stopping")
        monitoring.health.stopping = True
        # While this node still serves: what comes in meanwhile goes to the one that takes over.
        await _hand_over(replica)
        files.stop()
        care.stop()
        runner.stop()
        await server.stop()
        served = loop.time()
    if replica.fatal is not None:
        return FAILED if isinstance(replica.fatal, OtherVersionNeeded) else BROKEN
    await replica.stop()
    parts = {"answers_secs": served - began, "storage_secs": loop.time() - served}
    log.info("stopped", **{name: round(secs, 1) for name, secs in parts.items()})
    return 0


async def _hand_over(replica: Replica) -> None:
    try:
        async with asyncio.timeout(HAND_OVER_SECS):
            await replica.hand_over()
    except TimeoutError:
        log.warning("leadership was not handed over", why=f"not within {HAND_OVER_SECS:g} s")


async def _monitor(config: Config, replica: Replica, care: CertificateCare) -> Monitoring:
    health = Health(replica, config.monitoring.stall_limit_secs)
    place = place_of_monitoring(config)
    pages = HttpPort({"/metrics": probe(lambda: "starting"), **probes(health)})
    start = partial(pages.start, context=care.for_anyone if config.monitoring.enable_tls else None)
    port = await _bind(place, start)
    health.watch()
    return Monitoring(health, pages, _address(place.host, port))


async def _listen(
    config: Config, replica: Replica, server: BrokerServer, care: CertificateCare
) -> str:
    place = place_of_clients(config)
    port = await _bind(place, partial(server.start, context=care.for_clients))
    address = _address(place.host, port)
    replica.address = config.broker.advertise or address
    return address


async def _bind(place: Place, start: Start) -> int:
    try:
        return await start(place.host, place.port)
    except OSError as error:
        raise CannotStart(place.obstacle(error)) from error


def _address(host: str, port: int) -> str:
    """What a client on this machine would connect to."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _until_signal(config: Config, ready_file: ReadyFile | None) -> int:
    stop = asyncio.Event()

    def ready(addresses: Addresses) -> None:
        if ready_file is not None:
            try:
                ready_file.write(addresses._asdict())
            except OSError as error:
                raise CannotStart(f"--ready-file cannot be written: {error}") from error

    files = WatchedFiles(asyncio.get_running_loop())
    with signals_to(stop, files.reload):
        if ready_file is None:
            return await serve(config, ready, stop, files)
        if ready_file.obstacle():
            raise CannotStart(f"--ready-file: {ready_file.obstacle()}")
        # One that a killed node left behind would say "ready" too early.
        ready_file.remove()
        try:
            return await serve(config, ready, stop, files)
        finally:
            ready_file.remove()


def run(config: Config, ready_file: Path | None = None) -> int:
    """Runs a node in this process until SIGTERM or SIGINT; the exit code."""
    fill_standard_streams()
    bound_memory()
    allow_open_files()
    set_up_logging(config.monitoring, node_id=config.raft.node_id)
    for warning in config.warnings():
        log.warning(warning)
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            file = None if ready_file is None else ReadyFile(ready_file)
            return runner.run(_until_signal(config, file))
    except CannotStart as error:
        log.error("cannot start", why=str(error))
        return FAILED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _path(_context: click.Context, option: click.Parameter, value: str | None) -> Path | None:
    # Path("") would be the working folder: usually a variable of a script that is not set.
    if value == "":
        raise click.BadParameter("is empty", param=option)
    return None if value is None else Path(value)


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from taskq.cli.version import version_text

        click.echo(version_text())
        context.exit()


def _pairs(given: Sequence[str]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not (equals and key.strip()):
            raise click.UsageError(f"--set {pair}: expected KEY=VALUE, such as broker.port=6379")
        overrides[key.strip()] = value
    return overrides


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config", "-c", "path", metavar="FILE", callback=_path, help="Configuration file (YAML)."
)
@click.option(
    "--set", "-s", "given", multiple=True, metavar="KEY=VALUE", help="Such as broker.port=7000."
)
@click.option(
    "--ready-file",
    metavar="FILE",
    callback=_path,
    help="JSON with addresses and process id; exists while the node serves.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the versions of package, protocol and storage format.",
)
def main(path: Path | None, given: tuple[str, ...], ready_file: Path | None) -> None:
    """Run one broker node until Ctrl-C or SIGTERM.

    Its configuration comes from FILE, then from the environment (TASKQ_BROKER__PORT=7000), then
    from --set; the later wins. `taskq config --example` prints a file with every key.

    \b
    Exit codes:
      0   stopped as asked
      1   cannot start: configuration, folder, port or version
      2   wrong usage
      70  ended by a bug or a damaged disk
    """
    overrides = _pairs(given)
    try:
        config = load_config(path, os.environ, overrides)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    sys.exit(run(config, ready_file))


if __name__ == "__main__":
    main()
