"""Grounds by the word for their form."""

from __future__ import annotations

from chaos.live.ground import Ground

FORMS = ("processes", "namespaces", "containers")


def ground_of(form: str) -> Ground:
    """A ground of this form, with nothing made yet. Raises OSError where this machine cannot."""
    if form == "processes":
        return Ground()
    raise OSError(f"no ground for {form}")
