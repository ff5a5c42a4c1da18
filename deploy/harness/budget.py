"""Evictions: what a PodDisruptionBudget lets go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deploy.harness.quantities import count_of
from deploy.harness.rendering import Object
from deploy.harness.strictly import only


class Evictable(Protocol):
    """What a budget has to know of a pod."""

    terminating: bool
    ready_since: float | None


class EvictionRefused(Exception):
    """As the API server answers an eviction with 429; the message has the numbers."""


def check_eviction(budget: Object, pods: Sequence[Evictable], expected: int) -> None:
    """Whether one of `pods`, all of which the budget selects, may be evicted now. `expected`: how
    many their controller wants. Raises EvictionRefused, Unsupported."""
    spec = budget["spec"]
    only("PodDisruptionBudget", spec, {"maxUnavailable", "minAvailable", "selector"})
    if "maxUnavailable" in spec:
        wanted = expected - count_of(spec["maxUnavailable"], expected)
    else:
        wanted = count_of(spec["minAvailable"], expected)
    healthy = sum(pod.ready_since is not None and not pod.terminating for pod in pods)
    if healthy - 1 < wanted:
        raise EvictionRefused(f"{healthy} of {expected} are healthy, {wanted} are needed")
