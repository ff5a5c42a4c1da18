"""The folder of a local cluster: how many nodes it holds, their secret, and ports for them.

cluster.json   raft-secret (0600)   node1/ node2/ ...   node1.log node2.log ...
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
from pathlib import Path

from taskq.cli.command import Failure
from taskq.cli.private_file import write_private
from taskq.cli.process import is_free

FORMAT = 1
LOG_SIZE_MAX = 10 * 1024 * 1024
SECRET_SIZE_MIN = 16
# Below the range from which systems take ports for outgoing connections: a node that is started
# again finds its port as it left it.
_PORTS = range(15_000, 32_000)
_NOTE = "cluster.json"


def names(count: int) -> list[str]:
    """The ids of the nodes."""
    return [f"node{number}" for number in range(1, count + 1)]


def nodes_in(data: Path) -> int | None:
    """How many nodes the cluster in a folder has; None where there is none. Raises Failure."""
    try:
        note = json.loads((data / _NOTE).read_text())
        if note["format"] > FORMAT:
            raise Failure(f"{data} was made by a later version of taskq.")
        return int(note["nodes"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{data / _NOTE} is unreadable: {error}") from None


def claim(data: Path, count: int) -> None:
    """Makes a folder that of a cluster of `count` nodes, or checks that it is. Raises Failure."""
    if (data / "node.json").exists():
        raise Failure(
            f"{data} holds the tasks of a single broker: leave out --nodes, or name another folder"
            " with --data."
        )
    there = nodes_in(data)
    if there is not None and there != count:
        raise Failure(f"{data} holds a cluster of {there} nodes, not of {count}.")
    if there is None:
        data.mkdir(parents=True, exist_ok=True)
        aside = data / f"{_NOTE}.new"
        aside.write_text(json.dumps({"format": FORMAT, "nodes": count}) + "\n")
        aside.replace(data / _NOTE)


def secret_of(data: Path) -> str:
    """The secret that the nodes of this folder share; made where there is none."""
    path = data / "raft-secret"
    with contextlib.suppress(FileNotFoundError):
        secret = path.read_text().strip()
        if len(secret) >= SECRET_SIZE_MIN:
            return secret
        path.unlink()  # cut short by a crash; nothing but these nodes knows it
    secret = secrets.token_urlsafe(32)
    write_private(path, f"{secret}\n".encode())
    return secret


def log_of(data: Path, name: str) -> Path:
    """The log of a node; one that has grown large is put aside, and replaces the one before."""
    path = data / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_SIZE_MAX:
        path.replace(path.with_name(f"{name}.log.1"))
    return path


def free_ports(count: int, but: set[int] | None = None) -> list[int]:
    """So many ports on which nobody listens now, none of them in `but`."""
    taken = set(but or ())
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if port not in taken and is_free(port):
            found.append(port)
        if len(found) >= count:
            return found[:count]
    raise Failure("There are no free ports on this machine.")


def ports_from(first: int, count: int) -> list[int]:
    """`first` and those behind it. Raises Failure where one is taken."""
    ports = list(range(first, first + count))
    busy = [port for port in ports if port > 65_535 or not is_free(port)]
    if busy:
        raise Failure(
            f"Port {busy[0]} is in use by another program; --port names the first of {count} others"
            " (0: any free ones)."
        )
    return ports
