"""The log's flags about the node's vote, and the ids that tell one loss from the next (rule A8).

A flag is cleared by naming its id, so that an answer to an earlier loss never clears a later one.
Ids are 1 to 2**63 - 1; 1 stands in logs that were marked before there were ids.
"""

from __future__ import annotations

import secrets

NON_VOTING_FLAG = "non_voting"  # the log was lost: the node counts for nothing until it caught up
# No readable witness: acknowledged batches may be gone, so that the vote counts only among all.
UNCERTAIN_FLAG = "uncertain"
ID_MAX = 2**63 - 1  # what fits into a signed 64-bit number, on the wire, too


def new_flag_id() -> int:
    """A random id for a flag."""
    return secrets.randbelow(ID_MAX) + 1
