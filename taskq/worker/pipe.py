"""What the worker and its pool processes say to each other: msgpack arrays, one after the other.

    parent -> child   [LOAD, module, name, script]           first, once
                      [RUN, token, task id, queue, name, attempt, headers, payload, deadline]
                      [CANCEL, token]                        the run that goes on should stop
                      [RECALL]                               give back what has not been started
                      [EXTENDED, token, lease ms or None, code, text]
    child -> parent   [READY] or [BROKEN, text]              the answer to LOAD
                      [ENDED, token, secs, ok, result, error, retry]
                      [BACK, tokens]                         the answer to RECALL
                      [EXTEND, token, lease ms or None]

Runs are sent ahead only while they are short; a child takes them in order. Each outcome is sent
before the next run starts, so that the first run without an outcome is the one that goes on.

A pool process trusts its parent and the other way round: they are one program. msgpack all the
same, because it cannot run code.
"""

from __future__ import annotations

from typing import Any

import msgpack

LOAD, RUN, CANCEL, RECALL, EXTENDED = range(5)
READY, BROKEN, ENDED, BACK, EXTEND = range(5)

# How much one read takes at most; a busy parent gets many outcomes at once.
READ_SIZE = 256 * 1024

# A lone surrogate in an error text must not cost the outcome.
_packer = msgpack.Packer(use_bin_type=True, unicode_errors="replace")


def pack(value: list[Any]) -> bytes:
    """The bytes of one value."""
    packed: bytes = _packer.pack(value)
    return packed


def unpacker() -> Any:
    """Takes bytes with `feed` and iterates over the values that are whole."""
    return msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=0)
