"""What is mounted into a container: claims, files of ConfigMaps and Secrets, scratch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy.harness.rendering import Object, Objects
from deploy.harness.strictly import only

SCRATCH, CLAIM, FILES = "scratch", "claim", "files"
_CLAIM = "persistentVolumeClaim"


@dataclass(frozen=True)
class Mount:
    """One place in the container. `kind`: SCRATCH is empty and ends with the pod, the claim `name`
    of a CLAIM outlives it, FILES has `files` (content by relative path) with the permissions
    `mode`."""

    path: str
    kind: str
    name: str
    read_only: bool = False
    files: Mapping[str, bytes] | None = None
    mode: int = 0o644


def mounts_of(
    objects: Objects, volumes: Iterable[Object], mounts: Iterable[Object], pod: str
) -> tuple[Mount, ...]:
    """A mount without a volume is that of a claim template, which names claims after their `pod`,
    too. Raises LookupError, Unsupported."""
    sources = {volume["name"]: volume for volume in volumes}
    found = []
    for mount in mounts:
        only("volumeMount", mount, {"name", "mountPath", "readOnly"})
        volume = sources.get(mount["name"], {"name": mount["name"]})
        found.append(_mount(objects, mount, volume, pod))
    return tuple(found)


def _mount(objects: Objects, mount: Object, volume: Object, pod: str) -> Mount:
    path, name, read_only = mount["mountPath"], volume["name"], mount.get("readOnly", False)
    only(f"volume {name}", volume, {"name", "configMap", "secret", "emptyDir", _CLAIM})
    if "emptyDir" in volume:
        return Mount(path, SCRATCH, name, read_only)
    if "configMap" in volume or "secret" in volume:
        kind = "ConfigMap" if "configMap" in volume else "Secret"
        source = volume.get("configMap") or volume["secret"]
        only(kind, source, {"name", "secretName", "items", "defaultMode", "optional"})
        files = _files(objects, kind, source)
        # They are never writable.
        return Mount(path, FILES, name, True, files, source.get("defaultMode", 0o644))
    claim = volume[_CLAIM]["claimName"] if _CLAIM in volume else f"{name}-{pod}"
    return Mount(path, CLAIM, claim, read_only)


def _files(objects: Objects, kind: str, source: Object) -> dict[str, bytes]:
    name = source.get("name") or source["secretName"]
    try:
        data = objects.data(kind, name)
    except LookupError:
        if source.get("optional"):
            return {}
        raise
    if "items" in source:
        return {item["path"]: data[item["key"]] for item in source["items"]}
    return data
