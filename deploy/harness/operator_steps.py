"""What deploy/k8s/README.md has an operator do before the first `kubectl apply`: a copy of the
manifests, with certificates and keys where the overlay wants them."""

from __future__ import annotations

import base64
import re
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cluster.certificates.folder import issue
from deploy.harness.rendering import ROOT, Object, Objects, render
from taskq.cli.keys import hash_of

TLS, CLIENTS = "taskq-tls", "taskq-clients"
DAYS = 2.0
# Certificates for as many nodes as the cluster may grow to.
COUNT = 5
# Nobody has a key with such a hash: they stand where the operator's own have to be.
_PLACE = re.compile(r"role: (\w+)\n(?:.*\n)*?\s+hash: (sha256:0{63}\d)")


@dataclass(frozen=True)
class Prepared:
    """What is applied. `folder`: the copy of the overlay; `secrets`: made beside it, by name;
    `authority`: the certificate by which clients know nodes, None without TLS; `keys`: by role."""

    folder: Path
    objects: Objects
    secrets: list[Object] = field(default_factory=list)
    authority: Path | None = None
    keys: dict[str, str] = field(default_factory=dict)

    def rendered(self) -> Objects:
        """The copy as it is now, and the secrets."""
        return Objects([*render(self.folder), *self.secrets])

    @property
    def settings(self) -> Path:
        """The file with the settings of all nodes."""
        own = self.folder / "taskq.yaml"
        return own if own.exists() else self.folder.parents[1] / "base/taskq.yaml"


def prepared(overlay: str, home: Path) -> Prepared:
    """The steps for this overlay, done in `home`. Raises RenderFailed."""
    tree = home / "k8s"
    shutil.copytree(ROOT, tree)
    bare = Prepared(tree / "overlays" / overlay, Objects([]))
    objects = bare.rendered()
    if f"secretName: {TLS}" not in bare_text(bare.folder):
        return Prepared(bare.folder, objects)
    namespace = objects.one("StatefulSet", "taskq")["metadata"]["namespace"]
    authority, files = certificates(namespace, home / "certs")
    keys = put_keys(bare.settings)
    words = {"admin": keys["admin"].encode(), "worker": keys["worker"].encode()}
    made = [secret(namespace, TLS, files), secret(namespace, CLIENTS, words)]
    done = Prepared(bare.folder, Objects([]), made, authority, keys)
    return Prepared(bare.folder, done.rendered(), made, authority, keys)


def bare_text(folder: Path) -> str:
    """All files of an overlay."""
    return "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.yaml")))


def certificates(namespace: str, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """As `taskq certs init`: the authority's certificate, and the files for the nodes, which its
    key is none of."""
    service = ["taskq", f"taskq.{namespace}", f"taskq.{namespace}.svc", "localhost"]
    nodes = {
        name: [f"{name}.taskq-peers", f"{name}.taskq-peers.{namespace}.svc", *service]
        for name in (f"taskq-{ordinal}" for ordinal in range(COUNT))
    }
    issued = issue(folder, nodes, (), DAYS)
    paths = [issued.ca_file, *(path for one in issued.nodes for path in one[1:])]
    return issued.ca_file, {path.name: path.read_bytes() for path in paths}


def put_keys(settings: Path) -> dict[str, str]:
    """As `taskq keys create`: a key for each place in the file, by role; the file gets hashes."""
    text = settings.read_text("utf-8")
    keys = {}
    for role, place in _PLACE.findall(text):
        keys[role] = f"tq_{secrets.token_urlsafe(24)}"
        text = text.replace(place, hash_of(keys[role]))
    settings.write_text(text)
    return keys


def secret(namespace: str, name: str, files: dict[str, bytes]) -> Object:
    """As `kubectl create secret generic`."""
    data = {key: base64.b64encode(content).decode() for key, content in files.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
