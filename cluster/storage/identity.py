"""The identity file of a data folder: which node, which cluster, which disk.

`node.json` is the first thing ever written into a folder and is replaced whole. A folder with data
but without it is refused, because an empty log in its place would forget votes and entries.
"""

from __future__ import annotations

import json
import uuid
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.storage.errors import DataDamaged, NewerFormat
from cluster.storage.files import write_whole

IDENTITY_FORMAT = 1
IDENTITY_NAME = "node.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a folder belongs to. `log_created`: the log was there once, so a missing one is damage;
    `founding`: empty in a group of one; in a member of a group the record of how it was founded
    (text, and maps of text), and `cluster_id` is empty until it is. `members`: index and term of
    the newest set of members that was to be written to the log, 0 and 0 for none."""

    node_id: str
    cluster_id: str
    disk_id: str
    log_created: bool = False
    founding: dict[str, Any] = field(default_factory=dict)
    members: tuple[int, int] = (0, 0)

    def with_log(self) -> Identity:
        """The same, once the log is there."""
        return replace(self, log_created=True)


def new_identity(node_id: str) -> Identity:
    """A fresh identity with random cluster and disk ids."""
    return Identity(node_id, uuid.uuid4().hex, uuid.uuid4().hex)


def encode_identity(identity: Identity) -> bytes:
    """The file's content: JSON for people, with a checksum against silent changes."""
    body: dict[str, Any] = {
        "format": IDENTITY_FORMAT,
        "node_id": identity.node_id,
        "cluster_id": identity.cluster_id,
        "disk_id": identity.disk_id,
        "log_created": identity.log_created,
        "founding": identity.founding,
    }
    if identity.members != (0, 0):  # what 0.1.0 wrote has none
        body["members"] = list(identity.members)
    body["checksum"] = _checksum(body)
    return json.dumps(body, indent=2).encode() + b"\n"


def _checksum(body: dict[str, Any]) -> str:
    kept = {key: value for key, value in body.items() if key != "checksum"}
    return f"{zlib.crc32(json.dumps(kept, sort_keys=True).encode()):08x}"


def decode_identity(path: Path, content: bytes) -> Identity:
    """The identity in a file's content. Raises DataDamaged, NewerFormat."""
    try:
        body = json.loads(content)
        version = body["format"]
        if isinstance(version, int) and version > IDENTITY_FORMAT:
            raise NewerFormat(path, version, IDENTITY_FORMAT)
        if version != IDENTITY_FORMAT or body["checksum"] != _checksum(body):
            raise DataDamaged(path, "the identity file does not match its checksum")
        index, term = body.get("members", (0, 0))
        return Identity(
            str(body["node_id"]),
            str(body["cluster_id"]),
            str(body["disk_id"]),
            bool(body["log_created"]),
            dict(body["founding"]),
            (int(index), int(term)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataDamaged(path, f"the identity file is unreadable ({error})") from error


def read_identity(path: Path) -> Identity | None:
    """The identity in `path`, None if the file is missing. Raises DataDamaged, NewerFormat."""
    try:
        return decode_identity(path, path.read_bytes())
    except FileNotFoundError:
        return None


def write_identity(path: Path, identity: Identity) -> None:
    """Write the file whole, durably, in one step. Raises OSError."""
    write_whole(path, encode_identity(identity))
