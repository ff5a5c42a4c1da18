"""A folder with an authority and what it signed: `ca.pem`, `ca.key`, NAME.pem and NAME.key.

Files are made, never overwritten: the authority of a folder stays, and signs what is asked for
later. Keys, and certificates too, are for their owner alone (mode 0600).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.certificates.authority import Authority, Pair

AUTHORITY = "ca"


class FolderRefused(Exception):
    """Nothing was written; the message says why."""


class Signed(NamedTuple):
    """One certificate of the folder and its key."""

    name: str
    cert_file: Path
    key_file: Path


class Issued(NamedTuple):
    """What is there now. `new`: the authority was made with the rest."""

    ca_file: Path
    new: bool
    nodes: list[Signed]
    clients: list[Signed]


def issue(
    folder: Path, nodes: Mapping[str, Sequence[str]], clients: Sequence[str], days: float
) -> Issued:
    """Makes certificates of `days` for nodes (id -> hosts) and clients, and the authority where
    there is none. Raises FolderRefused, and OSError where a file cannot be written."""
    names = [*nodes, *clients]
    double = {name for name in names if names.count(name) > 1 or name == AUTHORITY}
    if double:
        raise FolderRefused(f"{', '.join(sorted(double))}: each name once, and not {AUTHORITY!r}")
    taken = [path for name in names for path in _paths(folder, name) if path.exists()]
    if taken:
        text = "; nothing was changed, since no file is overwritten: move it away to make it anew"
        raise FolderRefused(f"{', '.join(map(str, taken))} exists already{text}")
    authority, new = _authority(folder)
    try:
        pairs = {name: authority.issue_node(name, hosts, days) for name, hosts in nodes.items()}
    except ValueError as error:
        raise FolderRefused(str(error)) from error
    pairs |= {name: authority.issue_client(name, days) for name in clients}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if new:
        _write(folder, AUTHORITY, authority.pair)
    signed = [_write(folder, name, pair) for name, pair in pairs.items()]
    count = len(nodes)
    return Issued(_paths(folder, AUTHORITY)[0], new, signed[:count], signed[count:])


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.key"


def _authority(folder: Path) -> tuple[Authority, bool]:
    paths = _paths(folder, AUTHORITY)
    there = [path.exists() for path in paths]
    if not any(there):
        return Authority.new(), True
    if not all(there):
        raise FolderRefused(f"{folder} has only one of ca.pem and ca.key; both are needed to sign")
    try:
        return Authority(Pair(*(path.read_bytes() for path in paths))), False
    except ValueError as error:
        raise FolderRefused(f"{paths[0]} and {paths[1]} cannot sign: {error}") from error


def _write(folder: Path, name: str, pair: Pair) -> Signed:
    paths = _paths(folder, name)
    for path, content in zip(paths, pair, strict=True):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
    return Signed(name, *paths)
