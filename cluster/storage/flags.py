"""The log's flags about the node's vote, and the ids that tell one loss from the next (rule A8).

A flag is cleared by naming its id, so that an answer to an earlier loss never clears a later one.
Ids are 1 to 2**63 - 1; 1 stands in logs that were marked before there were ids. The one that a node
was added with is *kept*: by it the node tells its disk from others that had its name (A10).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

NON_VOTING_FLAG = "non_voting"  # the log was lost: the node counts for nothing until it caught up
# No readable witness: acknowledged batches may be gone, so that the vote counts only among all.
UNCERTAIN_FLAG = "uncertain"
# No loss: the id of the flag that this disk was added with, by which the other members know it.
MEMBER_FLAG = "member"
ID_MAX = 2**63 - 1  # what fits into a signed 64-bit number, on the wire, too

# How an id ends that is kept: before there were such, a node that was added forgot its id.
_KEPT = 0x6B657074
_KEPT_SIZE = 1 << 32


def new_flag_id(randbelow: Callable[[int], int] = secrets.randbelow) -> int:
    """A random id for a flag, of those that are kept."""
    return (randbelow(ID_MAX // _KEPT_SIZE) + 1) * _KEPT_SIZE + _KEPT


def is_kept(flag_id: int) -> bool:
    """Whether who was added with this id still knows it."""
    return flag_id % _KEPT_SIZE == _KEPT


def loss_in(flags: Mapping[str, int]) -> int:
    """The id of the flag about the vote; 0 for none."""
    return flags.get(NON_VOTING_FLAG, 0) or flags.get(UNCERTAIN_FLAG, 0)
