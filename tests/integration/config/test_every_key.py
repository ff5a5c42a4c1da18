"""No key without a test: the modules beside this one show, key by key, that a change acts."""

from __future__ import annotations

import importlib
from pathlib import Path

from cluster.config.model import keys
from tests.integration.config.tested_keys import TESTED


def test_every_key_has_a_test_that_it_acts() -> None:
    for path in sorted(Path(__file__).parent.glob("test_*_keys.py")):
        importlib.import_module(f"tests.integration.config.{path.stem}")
    missing = [path for path in keys() if path not in TESTED]
    assert not missing, f"no test marked with @acts for: {', '.join(missing)}"
