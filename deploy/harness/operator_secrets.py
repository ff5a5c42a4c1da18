"""What deploy/k8s/README.md has the operator make before the first `kubectl apply`."""

from __future__ import annotations

import base64

from cluster.certificates.authority import Authority
from deploy.harness.rendering import Object, Objects

DAYS = 2.0
# Certificates for as many nodes as the cluster may grow to.
COUNT = 5


def with_secrets(objects: Objects) -> Objects:
    """The objects, and the Secrets that the pods of the StatefulSet name but no overlay makes.
    Raises LookupError for one that nobody knows how to make."""
    owner = objects.one("StatefulSet", "taskq")
    namespace = owner["metadata"]["namespace"]
    found = list(objects)
    for volume in owner["spec"]["template"]["spec"]["volumes"]:
        name = volume.get("secret", {}).get("secretName")
        if name is None or any(one["metadata"]["name"] == name for one in objects.of("Secret")):
            continue
        if name != "taskq-tls":
            raise LookupError(f"nobody makes the Secret {name}")
        found.append(_secret(name, certificates(namespace)))
    return Objects(found)


def certificates(namespace: str) -> dict[str, bytes]:
    """The files of `taskq-tls`, of a new authority."""
    authority = Authority.new()
    files = {"ca.pem": authority.pair.certificate}
    for ordinal in range(COUNT):
        name = f"taskq-{ordinal}"
        hosts = [
            *(f"{name}.taskq-peers", f"{name}.taskq-peers.{namespace}.svc"),
            *("taskq", f"taskq.{namespace}.svc"),
        ]
        pair = authority.issue_node(name, hosts, DAYS)
        files[f"{name}.pem"], files[f"{name}-key.pem"] = pair
    return files


def _secret(name: str, files: dict[str, bytes]) -> Object:
    data = {key: base64.b64encode(content).decode() for key, content in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
