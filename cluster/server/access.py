"""Who may send what: the one place that turns a credential into message codes.

Without authentication everybody is an admin. Keys are compared as hashes, in constant time.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from cluster.config.groups import ApiKey, Auth
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.registry import MESSAGES, Role, Sort

# What each role carries beside its own messages.
_CARRIES = {
    "producer": {Role.ANYONE, Role.PRODUCER},
    "worker": {Role.ANYONE, Role.WORKER},
    "admin": {Role.ANYONE, Role.PRODUCER, Role.WORKER, Role.ADMIN},
}


def codes_of(role: str) -> frozenset[int]:
    """Codes of the messages that a role may send."""
    return frozenset(
        code
        for code, row in MESSAGES.items()
        if row.role in _CARRIES[role] and row.sort not in (Sort.INTERNAL, Sort.PUSH)
    )


class Access:
    """Decides at Hello; what it decides holds for the session."""

    def __init__(self, *, enabled: bool, keys: Sequence[ApiKey] = ()) -> None:
        self._enabled = enabled
        self._keys = tuple(keys)
        self._codes = {role: codes_of(role) for role in _CARRIES}

    @classmethod
    def of(cls, auth: Auth) -> Access:
        """As the configuration says."""
        return cls(enabled=auth.enabled, keys=auth.api_keys)

    def admit(self, key: str | None) -> frozenset[int] | Refusal:
        """The codes that a credential may send. Refused: UNAUTHENTICATED, PERMISSION_DENIED."""
        if not self._enabled:
            return self._codes["admin"]
        if key is None:
            return refuse(ErrorCode.UNAUTHENTICATED, "this node wants a key")
        digest = f"sha256:{sha256(key.encode()).hexdigest()}"
        found = None
        for known in self._keys:  # all of them: the time taken tells nothing
            if compare_digest(known.hash, digest):
                found = known
        if found is None:
            return refuse(ErrorCode.UNAUTHENTICATED, "the key is not known")
        if found.queues != "*":
            # Rather nothing than more than was granted.
            text = "this node does not serve keys that are limited to some queues"
            return refuse(ErrorCode.PERMISSION_DENIED, text)
        return self._codes[found.role]
