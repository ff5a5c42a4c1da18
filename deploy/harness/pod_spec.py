"""What a rendered pod template says about one pod: command, environment, files, probes, its end.

Pure. Everything in the template is either taken over, or known to be of no matter to one machine
(`_ELSEWHERE`); anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.harness.environment import expanded, variables
from deploy.harness.files import Mount, mounts_of
from deploy.harness.quantities import size_of
from deploy.harness.rendering import Object, Objects
from deploy.harness.strictly import only

# For schedulers and API servers; tests of the manifests look at them.
_ELSEWHERE = {
    *("affinity", "topologySpreadConstraints", "automountServiceAccountToken"),
    *("enableServiceLinks", "nodeSelector", "tolerations", "priorityClassName"),
}
GRACE_SECS = 30.0
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@dataclass(frozen=True)
class Probe:
    """One question of HTTP, asked again and again. Times in seconds; `grace_secs`: of a container
    that it ends, None as for any other end."""

    path: str
    port: int
    delay_secs: float = 0.0
    period_secs: float = 10.0
    timeout_secs: float = 1.0
    failures_max: int = 3
    successes_min: int = 1
    grace_secs: float | None = None


@dataclass(frozen=True)
class PodPlan:
    """All that it takes to run one pod. `args` go to the image's entrypoint, unless there is a
    `command`; `pre_stop`: what is run in the container before SIGTERM; both count for
    `grace_secs`. `memory_size`: bytes, None without a limit."""

    name: str
    namespace: str
    image: str
    labels: Mapping[str, str]
    command: tuple[str, ...]
    args: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    user: int
    group: int
    fs_group: int | None
    read_only: bool
    dropped: tuple[str, ...]
    escalates: bool
    working_dir: str | None
    memory_size: int | None
    grace_secs: float
    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None
    pre_stop: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)


def plan_pod(objects: Objects, template: Object, name: str, namespace: str) -> PodPlan:
    """The plan of the pod `name` from a template of `objects`. Raises Unsupported for what this
    harness does not do, LookupError where a ConfigMap or Secret is missing."""
    spec = template["spec"]
    known = {"containers", "volumes", "securityContext", "terminationGracePeriodSeconds"}
    only("pod", spec, {*known, "restartPolicy", *_ELSEWHERE})
    (container,) = spec["containers"]
    _known_container(container)
    ours = {"metadata.name": name, "metadata.namespace": namespace}
    environment = variables(objects, container.get("env", ()), ours)
    security = {**_pod_security(spec), **_container_security(container)}
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    probes = [_probe(container.get(one), ports) for one in PROBES]
    return PodPlan(
        name=name,
        namespace=namespace,
        image=container["image"],
        labels=template["metadata"]["labels"],
        command=tuple(expanded(word, environment) for word in container.get("command", ())),
        args=tuple(expanded(word, environment) for word in container.get("args", ())),
        environment=environment,
        mounts=mounts_of(
            objects, spec.get("volumes", ()), container.get("volumeMounts", ()), pod=name
        ),
        working_dir=container.get("workingDir"),
        memory_size=None if limit is None else size_of(limit),
        grace_secs=float(spec.get("terminationGracePeriodSeconds", GRACE_SECS)),
        startup=probes[0],
        liveness=probes[1],
        readiness=probes[2],
        pre_stop=_pre_stop(container),
        ports=ports,
        **security,
    )


def _known_container(container: Object) -> None:
    known = {"name", "image", "imagePullPolicy", "command", "args", "env", "ports", "workingDir"}
    known |= {"securityContext", "resources", "volumeMounts", "lifecycle", *PROBES}
    only(f"container {container['name']}", container, known)
    only("resources", container.get("resources", {}), {"requests", "limits"})


def _pod_security(spec: Object) -> dict[str, Any]:
    found = spec.get("securityContext", {})
    known = {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy"}
    only("securityContext of the pod", found, {*known, "seccompProfile"})
    if not found.get("runAsNonRoot") or not found.get("runAsUser"):
        raise ValueError("the pod may run as root")
    return {
        "user": found["runAsUser"],
        "group": found.get("runAsGroup", 0),
        "fs_group": found.get("fsGroup"),
    }


def _container_security(container: Object) -> dict[str, Any]:
    found = container.get("securityContext", {})
    known = {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"}
    only("securityContext of the container", found, known)
    only("capabilities", found.get("capabilities", {}), {"drop"})
    return {
        "read_only": found.get("readOnlyRootFilesystem", False),
        "escalates": found.get("allowPrivilegeEscalation", True),
        "dropped": tuple(found.get("capabilities", {}).get("drop", ())),
    }


def _probe(found: Object | None, ports: Mapping[str, int]) -> Probe | None:
    if found is None:
        return None
    known = {"httpGet", "initialDelaySeconds", "periodSeconds", "timeoutSeconds"}
    known |= {"failureThreshold", "successThreshold", "terminationGracePeriodSeconds"}
    only("probe", found, known)
    only("httpGet", found["httpGet"], {"path", "port"})
    port = found["httpGet"]["port"]
    return Probe(
        path=found["httpGet"]["path"],
        port=port if isinstance(port, int) else ports[port],
        delay_secs=found.get("initialDelaySeconds", 0),
        period_secs=found.get("periodSeconds", 10),
        timeout_secs=found.get("timeoutSeconds", 1),
        failures_max=found.get("failureThreshold", 3),
        successes_min=found.get("successThreshold", 1),
        grace_secs=found.get("terminationGracePeriodSeconds"),
    )


def _pre_stop(container: Object) -> tuple[str, ...]:
    found = container.get("lifecycle", {})
    only("lifecycle", found, {"preStop"})
    if not found:
        return ()
    only("preStop", found["preStop"], {"exec"})
    return tuple(found["preStop"]["exec"]["command"])
