"""The objects of an overlay, as `kubectl kustomize` renders them."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1] / "k8s"
# Of the oldest Kubernetes that deploy/k8s/README.md names.
KUBECTL_MINOR_MIN = 27
RENDER_SECS = 30

Object = dict[str, Any]


class RenderFailed(Exception):
    """An overlay that cannot be rendered; the message is kubectl's."""


class Objects:
    """Objects of Kubernetes, each a mapping as it stands in YAML."""

    def __init__(self, found: list[Object]) -> None:
        self.all = found

    def __iter__(self) -> Iterator[Object]:
        return iter(self.all)

    def of(self, kind: str) -> list[Object]:
        """All of this kind."""
        return [one for one in self.all if one["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        """Raises LookupError."""
        for found in self.of(kind):
            if found["metadata"]["name"] == name:
                return found
        raise LookupError(f"there is no {kind} {name}")

    def data(self, kind: str, name: str) -> dict[str, bytes]:
        """The files of a ConfigMap or Secret, by name. Raises LookupError."""
        found = self.one(kind, name)
        files = {key: text.encode() for key, text in (found.get("stringData") or {}).items()}
        for key, text in (found.get("data") or {}).items():
            files[key] = base64.b64decode(text) if kind == "Secret" else text.encode()
        return files


def no_kubectl() -> str:
    """Why nothing can be rendered on this machine; "" where it can."""
    if shutil.which("kubectl") is None:
        return "there is no kubectl (Debian: kubernetes-client)"
    command = ["kubectl", "version", "--client"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=RENDER_SECS)
    found = re.search(r"v1\.(\d+)|Minor:\"(\d+)", done.stdout)
    if found is None:
        return f"kubectl does not say its version: {done.stdout}{done.stderr}"
    minor = int(found[1] or found[2])
    if minor < KUBECTL_MINOR_MIN:
        return f"this is kubectl 1.{minor}: 1.{KUBECTL_MINOR_MIN} or later is needed"
    return ""


def render(folder: Path) -> Objects:
    """The objects of the kustomization in `folder`. Raises RenderFailed."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=RENDER_SECS,
    )
    # What kustomize calls deprecated today is an error of tomorrow.
    if done.returncode or done.stderr:
        raise RenderFailed(f"{folder}: {done.stderr.strip()}")
    return Objects([one for one in yaml.safe_load_all(done.stdout) if one])


def overlays() -> list[Path]:
    """The folders of all overlays."""
    return sorted(path.parent for path in ROOT.glob("overlays/*/kustomization.yaml"))
