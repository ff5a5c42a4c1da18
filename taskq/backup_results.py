"""What requests about backups are answered with; as `results.py`."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from taskq.fields import Int, ListOf, Text
from taskq.results import U63, Count, Data, Flag

U32 = (1 << 32) - 1


class BackupBegun(NamedTuple):
    """A state is open to be read under the number `backup`: that after entry `at_index` of cluster
    `cluster_id`, whose terms (and the one before it) are `terms`. `digest` is that of all that the
    entries wrote; `record_format` the version of the records; `size` about how many bytes follow.
    """

    backup: Count
    cluster_id: Annotated[str, Text(64)]
    node_id: Annotated[str, Text(200)]
    server_version: Annotated[str, Text(100)]
    at_index: Count
    terms: Annotated[list[int], ListOf(Int(0, U63), 2, 2)]
    digest: Annotated[int, Int(0, U32)]
    record_format: Count
    member_count: Count
    size: Count


class BackupChunk(NamedTuple):
    """A piece of the state: pairs of keys and values. Pieces make a chunk, up to the first whose
    `more` is false; `crc` is the CRC-32 of that chunk. An empty chunk is the end."""

    data: Data
    more: Flag
    crc: Annotated[int, Int(0, U32)]
