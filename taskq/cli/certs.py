"""`taskq certs`: makes certificates for a cluster and its clients, and shows what they say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from taskq.cli.command import CommandGroup, Failure, json_option
from taskq.cli.output import note, print_json, print_text, show
from taskq.cli.process import require_broker
from taskq.client.address import parse_address
from taskq.client.tls import NO_TLS
from taskq.limits import NAME_PATTERN

if TYPE_CHECKING:
    from cluster.certificates.certificate import Certificate
    from cluster.certificates.folder import Issued

DAYS_DEFAULT = 365
DAYS_MAX = 3650
LOOK_SECS = 5.0
# As `raft.node_id`.
_NAME = re.compile(NAME_PATTERN)


@click.group("certs", cls=CommandGroup)
def certs_command() -> None:
    """Make certificates for TLS, and show what they say."""


def _nodes(
    _: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, list[str]]:
    nodes: dict[str, list[str]] = {}
    for text in given:
        name, equals, hosts = text.partition("=")
        if not equals or not _NAME.fullmatch(name) or not all(hosts.split(",")):
            what = "expected NODE_ID=HOST,HOST..., such as node1=taskq1.example.org,10.0.0.1"
            raise click.BadParameter(f"{text}: {what}", param=option)
        if name in nodes:
            raise click.BadParameter(f"{name} is named twice", param=option)
        nodes[name] = hosts.split(",")
    return nodes


def _clients(_: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    for name in given:
        if not _NAME.fullmatch(name):
            text = f"{name!r}: allowed are 1 to 64 of A-Z a-z 0-9 . _ -"
            raise click.BadParameter(text, param=option)
    return given


@certs_command.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--node", "nodes", multiple=True, metavar="NODE_ID=HOST,HOST...", callback=_nodes,
              help="A node and every host under which clients reach it; repeatable.")  # fmt: skip
@click.option("--client", "clients", multiple=True, metavar="NAME", callback=_clients,
              help="Somebody who shows a certificate to nodes; repeatable.")  # fmt: skip
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=DAYS_DEFAULT, show_default=True,
              help="How long they are valid; the authority is for ten years.")  # fmt: skip
@json_option
def init_certificates(
    folder: Path,
    nodes: dict[str, list[str]],
    clients: tuple[str, ...],
    days: int,
    as_json: bool,
) -> None:
    """Make an authority and certificates for nodes and clients in a folder.

    An authority that is there signs what is asked for now; no file is ever overwritten. Whoever has
    ca.key can make nodes and clients: keep it apart from them.

    \b
    taskq certs init certs --node node1=10.0.0.1 --node node2=10.0.0.2 --node node3=10.0.0.3
    """
    require_broker("certs")
    from cluster.certificates.folder import FolderRefused, issue

    if not nodes and not clients:
        raise click.UsageError("name what to make: --node NODE_ID=HOST,... or --client NAME")
    try:
        made = issue(folder.absolute(), nodes, clients, days)
    except FolderRefused as refused:
        raise Failure(f"{refused}.") from refused
    if as_json:
        print_json(_document(made, nodes))
        return
    print_text("\n".join(_lines(made, nodes)))
    if made.new:
        note(f"Keep {made.ca_file.with_suffix('.key')} apart: it can make more of them.")


def _document(made: Issued, nodes: dict[str, list[str]]) -> dict[str, Any]:
    files = [one._asdict() for one in made.nodes], [one._asdict() for one in made.clients]
    for document in (*files[0], *files[1]):
        document |= {key: str(document[key]) for key in ("cert_file", "key_file")}
    return {
        "ca_file": str(made.ca_file),
        "new_authority": made.new,
        "nodes": files[0],
        "clients": files[1],
        "urls": _urls(made, nodes),
    }


def _urls(made: Issued, nodes: dict[str, list[str]]) -> list[str]:
    """What clients connect with, one for each of them; for anybody where there are none."""
    hosts = dict.fromkeys(_in_url(names[0]) for names in nodes.values()) or ["HOST"]
    url = f"taskqs://{','.join(hosts)}?ca_file={quote(str(made.ca_file))}"
    own = (
        f"{url}&cert_file={quote(str(one.cert_file))}&key_file={quote(str(one.key_file))}"
        for one in made.clients
    )
    return list(own) or [url]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _lines(made: Issued, nodes: dict[str, list[str]]) -> list[str]:
    """The settings of each node, as YAML, and the urls of clients as comments below."""
    lines = []
    demand = [f"  client_ca_file: {made.ca_file}"] if made.clients else []
    for one in made.nodes:
        pair = [f"  cert_file: {one.cert_file}", f"  key_file: {one.key_file}"]
        lines += [f"# {one.name}: {', '.join(nodes[one.name])}"]
        lines += ["raft:", *pair, f"  ca_file: {made.ca_file}"]
        lines += ["api:", "  enable_tls: true", *pair, *demand, ""]
    lines += ["# Clients and workers:"]
    return lines + [f"#   export TASKQ_URL='{url}'" for url in _urls(made, nodes)]


@certs_command.command("show")
@click.argument("target", metavar="FILE|HOST:PORT")
@json_option
def show_certificates(target: str, as_json: bool) -> None:
    """Show whom a certificate names, who signed it and when it ends.

    FILE is a PEM file, HOST:PORT a port with TLS of a node. Nothing is verified.
    """
    require_broker("certs")
    found = _found(target)
    now = datetime.now(UTC)
    if as_json:
        print_json({"certificates": [_shown(one, now) for one in found]})
        return
    from taskq.cli.table import pairs

    for one in found:
        left = (one.not_after - now).days
        end = f"{one.not_after:%Y-%m-%d %H:%M} UTC, {'EXPIRED' if left < 0 else f'{left} days'}"
        rows = [
            ("names", ", ".join(one.names)),
            ("signed by", one.issuer),
            ("valid from", f"{one.not_before:%Y-%m-%d %H:%M} UTC"),
            ("valid until", end),
            ("for", "signing certificates" if one.authority else " and ".join(one.uses)),
            ("fingerprint", one.fingerprint),
        ]
        show(pairs(one.subject, rows))


def _found(target: str) -> list[Certificate]:
    from cluster.certificates.certificate import read_certificates
    from cluster.certificates.looking import certificate_at

    if Path(target).exists():
        try:
            return read_certificates(Path(target))
        except ValueError as error:
            raise Failure(f"{target} holds no certificate (PEM).") from error
    try:
        address = parse_address(target)
    except ValueError as error:
        raise Failure(f"{target} is neither a file nor HOST:PORT ({error}).") from error
    import ssl

    try:
        return [certificate_at(address.host, address.port, LOOK_SECS)]
    except ssl.SSLError as error:
        raise Failure(f"{address} shows no certificate: {NO_TLS.partition(':')[0]}.") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise Failure(
            f"There is no file {target}, and {address} cannot be reached: {why}."
        ) from error


def _shown(one: Certificate, now: datetime) -> dict[str, Any]:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "names": list(one.names),
        "uses": list(one.uses),
        "authority": one.authority,
        "not_before": one.not_before,
        "not_after": one.not_after,
        "days_left": round((one.not_after - now).total_seconds() / 86_400, 1),
        "fingerprint": one.fingerprint,
    }
