"""The variables of a container, as Kubernetes makes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from deploy.harness.rendering import Object, Objects
from deploy.harness.strictly import only

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


def variables(
    objects: Objects, entries: Iterable[Object], fields: Mapping[str, str]
) -> dict[str, str]:
    """What `env` says, in its order: a value may name variables that stand before it. `fields`: of
    the pod, for fieldRef. Raises LookupError, Unsupported."""
    found: dict[str, str] = {}
    for entry in entries:
        only("env", entry, {"name", "value", "valueFrom"})
        if "valueFrom" in entry:
            text = _from(objects, entry["valueFrom"], fields)
            if text is None:
                continue
        else:
            text = expanded(entry.get("value", ""), found)
        # The last one counts, and stands where the first one stood.
        found[entry["name"]] = text
    return found


def _from(objects: Objects, source: Object, fields: Mapping[str, str]) -> str | None:
    """None where an optional one is missing."""
    only("valueFrom", source, {"fieldRef", "secretKeyRef", "configMapKeyRef"})
    if "fieldRef" in source:
        only("fieldRef", source["fieldRef"], {"fieldPath", "apiVersion"})
        return fields[source["fieldRef"]["fieldPath"]]
    kind = "Secret" if "secretKeyRef" in source else "ConfigMap"
    reference = source.get("secretKeyRef") or source["configMapKeyRef"]
    only("key", reference, {"name", "key", "optional"})
    try:
        return objects.data(kind, reference["name"])[reference["key"]].decode()
    except LookupError:
        if reference.get("optional"):
            return None
        raise


def expanded(text: str, known: Mapping[str, str]) -> str:
    """With $(NAME) replaced; one that is not known stays as it is, and $$ is a dollar."""

    def replaced(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return known.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)
