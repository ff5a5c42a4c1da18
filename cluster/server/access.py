"""Who may send what: the one place that turns a credential into message codes and a scope.

Without authentication everybody is an admin. Keys are compared as hashes, in constant time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from cluster.config.groups import ApiKey, Auth
from cluster.server.cursors import Cursors
from cluster.server.scope import LIMITED_CODES, Scope
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.registry import MESSAGES, Role, Sort

# What each role carries beside its own messages.
_CARRIES = {
    "producer": {Role.ANYONE, Role.PRODUCER},
    "worker": {Role.ANYONE, Role.WORKER},
    "admin": {Role.ANYONE, Role.PRODUCER, Role.WORKER, Role.ADMIN},
}
EVERY_QUEUE = "*"


def codes_of(role: str) -> frozenset[int]:
    """Codes of the messages that a role may send."""
    return frozenset(
        code
        for code, row in MESSAGES.items()
        if row.role in _CARRIES[role] and row.sort not in (Sort.INTERNAL, Sort.PUSH)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """What a credential may do: `codes` of messages, on the queues of `scope` (None: all). `key` is
    None where nobody needs one."""

    codes: frozenset[int]
    scope: Scope | None = None
    key: ApiKey | None = None

    @property
    def who(self) -> str:
        """For logs."""
        return "anyone" if self.key is None else self.key.label


class Access:
    """Decides at Hello; what it decides holds for the session, or until the keys are replaced."""

    def __init__(self, *, enabled: bool, keys: Sequence[ApiKey] = ()) -> None:
        self._enabled = enabled
        self._keys = tuple(keys)
        self.cursors = Cursors(key.hash for key in keys)
        self._codes = {role: codes_of(role) for role in _CARRIES}

    @classmethod
    def of(cls, auth: Auth) -> Access:
        """As the configuration says."""
        return cls(enabled=auth.enabled, keys=auth.api_keys)

    def admit(self, key: str | None) -> Grant | Refusal:
        """What a credential may do. Refused: UNAUTHENTICATED."""
        if not self._enabled:
            return Grant(self._codes["admin"])
        if key is None:
            return refuse(
                ErrorCode.UNAUTHENTICATED, "this node wants an API key, and none was sent"
            )
        digest = f"sha256:{sha256(key.encode()).hexdigest()}"
        found = None
        for known in self._keys:  # all of them: the time taken tells nothing
            if compare_digest(known.hash, digest):
                found = known
        if found is None:
            text = "the API key is not known to this node (or was revoked)"
            return refuse(ErrorCode.UNAUTHENTICATED, text)
        codes = self._codes[found.role]
        if found.queues == EVERY_QUEUE:
            return Grant(codes, None, found)
        return Grant(codes & LIMITED_CODES, Scope(found.queues), found)

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Other keys count from now on. Who is in stays in until asked about with `still`."""
        self._keys = tuple(keys)
        self.cursors.renew(key.hash for key in keys)

    def still(self, grant: Grant) -> bool:
        """Whether a grant would be given today."""
        key = grant.key
        return key is None or any(key.grants_as(known) for known in self._keys)
