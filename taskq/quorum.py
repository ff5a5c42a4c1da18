"""Who is missing where nobody leads: for the log of a node, and for people at a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.results import MemberRole, MemberView

COUNTED = frozenset({MemberRole.LEADER, MemberRole.FOLLOWER, MemberRole.CANDIDATE})
# Nodes that the cluster knows of and that are no members.
OUTSIDE = frozenset({MemberRole.LEARNER, MemberRole.REMOVED})
_WHY = {
    MemberRole.UNREACHABLE: "cannot be reached",
    MemberRole.NON_VOTING: "lost its log and does not vote",
    MemberRole.FOUNDING: "belongs to no cluster yet",
}

# What to do where so many are missing that nobody can lead (A8).
REMEDY = "Bring them back; if their disks are lost for good, see `taskq cluster recover`."


def voters(members: Sequence[MemberView]) -> list[MemberView]:
    """Those that are members: not who is to be added, or was removed."""
    return [one for one in members if one.role not in OUTSIDE]


def majority(members: Sequence[MemberView]) -> int:
    """So many must reach each other for one of them to lead."""
    return len(voters(members)) // 2 + 1


def missing(members: Sequence[MemberView]) -> str:
    """Every member that cannot be counted on, and why; empty where there is none."""
    found = []
    for member in voters(members):
        role = MemberRole(member.role)
        if role not in COUNTED:
            found.append(f"{member.node_id} {member.state or _WHY[role]}")
    return "; ".join(found)
