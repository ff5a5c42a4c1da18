"""`taskq up`: a broker, or a cluster of some, on this machine, in front, until Ctrl-C."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from taskq.cli import exits
from taskq.cli.command import Command, Failure
from taskq.cli.events import Events
from taskq.cli.local_cluster import LocalCluster, status_of
from taskq.cli.local_folder import free_ports, nodes_in, ports_from
from taskq.cli.output import note
from taskq.cli.process import Broker, is_free, require_broker
from taskq.cli.stopping import Interrupted, StopSignals
from taskq.cli.usual_ports import take
from taskq.client import Client

PORT_DEFAULT = 6379
MONITORING_PORT_DEFAULT = 9091
NODES_MAX = 7
# How often the nodes of a cluster are looked after. Seconds.
WATCH_SECS = 0.3
# How long it may take until there is a leader, before that is said. Seconds.
LEADER_SECS = 20.0


def choose_port(wanted: int | None, ends: contextlib.ExitStack) -> int:
    """The port to serve on; 0 for any free one where the default is busy. It is ours until `ends`
    ends."""
    if wanted is not None:
        if wanted and not is_free(wanted):
            raise Failure(f"Port {wanted} is in use by another program; --port names another one.")
        return wanted
    if take([PORT_DEFAULT], ends):
        return PORT_DEFAULT
    note(f"Port {PORT_DEFAULT} is in use by another program; taking a free one (--port names one).")
    return 0


def choose_ports(wanted: int | None, count: int, ends: contextlib.ExitStack) -> list[int]:
    """The ports of the nodes of a cluster: from `wanted` on, or else from the default on, or else
    any free ones. Those from the default on are ours until `ends` ends."""
    if wanted:
        return ports_from(wanted, count)
    usual = range(PORT_DEFAULT, PORT_DEFAULT + count)
    if wanted is None and take(usual, ends):
        return list(usual)
    if wanted is None:
        note(
            f"One of the ports {usual[0]} to {usual[-1]} is in use by another program; taking free "
            f"ones (--port names others)."
        )
    return free_ports(count)


def _odd(_: click.Context, option: click.Parameter, count: int) -> int:
    if count % 2 == 0:
        text = f"an odd number: {count} nodes survive no more failures than {count - 1}"
        raise click.BadParameter(text, param=option)
    return count


@click.command("up", cls=Command)
@click.option(
    "--nodes",
    "count",
    type=click.IntRange(1, NODES_MAX),
    default=1,
    show_default=True,
    callback=_odd,
    help="Nodes that keep the tasks together; 3 go on when one of them crashes.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that keeps the tasks.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Of the first node; the others take the next ones. Default: 6379, or free ones.",
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line for each event.")
@click.pass_context
def up_command(
    ctx: click.Context,
    count: int,
    data: Path,
    port: int | None,
    log_level: str,
    as_json: bool,
) -> None:
    """Start a broker on this machine, or a cluster of some; Ctrl-C stops it.

    It listens on 127.0.0.1 only and keeps what it is given in the folder --data.
    """
    events = Events(as_json)
    require_broker("up")
    with StopSignals() as stops, contextlib.ExitStack() as ends:
        ends.callback(stops.ignore)
        what = "broker" if count == 1 else "cluster"
        try:
            if count == 1:
                _run_broker(events, stops, ends, data, port, log_level)
            else:
                _run_cluster(events, stops, ends, data, choose_ports(port, count, ends), log_level)
            ctx.exit(exits.FAILED)
        except Interrupted:
            events.aside("stopping", f"\nStopping the {what} ...")


def _scratch(ends: contextlib.ExitStack) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="taskq-up-")
    return Path(ends.enter_context(folder))


def _run_broker(
    events: Events,
    stops: StopSignals,
    ends: contextlib.ExitStack,
    data: Path,
    port: int | None,
    log_level: str,
) -> None:
    """Returns when the broker has ended by itself."""
    there = nodes_in(data)
    if there is not None:
        raise Failure(f"{data} holds a cluster: taskq up --nodes {there} --data {data}")
    chosen = choose_port(port, ends)
    monitoring = MONITORING_PORT_DEFAULT if take([MONITORING_PORT_DEFAULT], ends) else 0
    with stops.held():
        scratch = _scratch(ends)
        broker = Broker(data, scratch, chosen, log_level=log_level, monitoring_port=monitoring)
        ends.callback(broker.stop)
    served = broker.wait_ready()
    metrics = served["monitoring"]
    told = [
        f"Broker on {served['broker']}, tasks in {data}. Ctrl-C stops it.",
        *([f"Metrics: http://{metrics}/metrics"] if metrics else []),
        f"In another terminal: export TASKQ_URL={broker.url}",
    ]
    with Client(broker.url, name="taskq up") as client:
        leader = wait_for_leader(client, lambda: None)
    nodes = [_node(leader, served["broker"], metrics)]
    events.answer("ready", "\n".join(told), **_ready(broker.url, data, leader, nodes))
    code = broker.wait()
    events.aside("ended", f"The broker ended by itself (exit {code}).")


def _node(node_id: str, address: str, metrics: str) -> dict[str, Any]:
    """A node in the event "ready"."""
    where = f"http://{metrics}/metrics" if metrics else None
    return {"node_id": node_id, "address": address, "metrics": where}


def _ready(url: str, data: Path, leader: str, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of the event "ready"; `leader` is empty where nobody leads yet."""
    return {"url": url, "data": str(data.absolute()), "leader": leader, "nodes": nodes}


def _run_cluster(
    events: Events,
    stops: StopSignals,
    ends: contextlib.ExitStack,
    data: Path,
    ports: list[int],
    log_level: str,
) -> None:
    """Returns when no node can be kept running."""
    usual = range(MONITORING_PORT_DEFAULT, MONITORING_PORT_DEFAULT + len(ports))
    monitoring = list(usual) if take(usual, ends) else None
    with stops.held():
        cluster = LocalCluster(
            data,
            _scratch(ends),
            ports,
            held=stops.held,
            log_level=log_level,
            monitoring_ports=monitoring,
        )
        ends.callback(cluster.stop)
    metrics = cluster.wait_ready()
    nodes = [_node(name, where, metrics[name]) for name, where in cluster.addresses.items()]
    with Client(cluster.url, name="taskq up") as client:
        leader = wait_for_leader(client, lambda: _look(events, cluster))
        told = [
            f"Cluster of {len(ports)} nodes, tasks and logs in {data}. Ctrl-C stops it.",
            *(f"  {one['node_id']}  {one['address']}  metrics {one['metrics']}" for one in nodes),
            f"{leader} leads." if leader else "NOBODY LEADS YET: look into the logs.",
            f"In another terminal: export TASKQ_URL={cluster.url}",
        ]
        events.answer("ready", "\n".join(told), **_ready(cluster.url, data, leader, nodes))
        _watch(events, client, cluster, leader)
    events.aside("ended", "No node can be kept running.")


def _look(events: Events, cluster: LocalCluster) -> None:
    """Starts again what has ended, and tells of it."""
    for text in cluster.look():
        events.aside("node", text)


def wait_for_leader(client: Client, look: Callable[[], None]) -> str:
    """The leader, once there is one; empty if that takes too long. Meanwhile it calls `look`."""
    deadline = time.monotonic() + LEADER_SECS
    while time.monotonic() < deadline:
        status = status_of(client)
        if status is not None and status.leader:
            return status.leader
        look()
        time.sleep(WATCH_SECS / 10)
    return ""


def _watch(events: Events, client: Client, cluster: LocalCluster, leader: str) -> None:
    """Looks after the nodes, and says who leads, until none is left."""
    while not cluster.given_up:
        _look(events, cluster)
        status = status_of(client)
        now = "" if status is None else status.leader
        if status is not None and now and now != leader:
            text = f"{now} leads now (term {status.term})."
            events.aside("leader", text, leader=now, term=status.term)
        elif leader and not now:
            events.aside("leader", "Nobody leads just now.", leader="", term=None)
        leader = now
        time.sleep(WATCH_SECS)
