"""Grounds by the word for their form."""

from __future__ import annotations

from chaos.live.ground import Ground

FORMS = ("processes", "namespaces", "containers")


def ground_of(form: str, seed: int = 0) -> Ground:
    """A ground of this form, with nothing made yet; the chance of its links is from `seed`. What it
    takes (root, an engine and its library) is asked for only then. Raises ImportError, OSError."""
    if form == "namespaces":
        from chaos.live.namespaces import Namespaces

        return Namespaces(seed)
    if form == "containers":
        from chaos.live.containers import Containers

        return Containers(seed=seed)
    assert form == "processes", form
    return Ground()
