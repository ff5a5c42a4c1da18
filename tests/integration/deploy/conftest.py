"""Each overlay, rendered once. Without a kubectl that can, the tests are skipped, and say so."""

from __future__ import annotations

import pytest

from deploy.harness.rendering import Objects, no_kubectl, overlays, render


@pytest.fixture(scope="session", params=overlays(), ids=lambda path: path.name)
def objects(request: pytest.FixtureRequest) -> Objects:
    """The objects of an overlay."""
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)
    return render(request.param)
