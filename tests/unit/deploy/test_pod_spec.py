"""A rendered pod, read: what Kubernetes would make of it, and nothing left out in silence."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from deploy.harness.files import CLAIM, FILES, SCRATCH
from deploy.harness.pod_spec import PodPlan, Probe, plan_pod
from deploy.harness.quantities import count_of, size_of
from deploy.harness.rendering import Objects
from deploy.harness.strictly import Unsupported

CONFIG = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a.yaml": "a: 1", "b": "2"}}
SECRET = {
    "kind": "Secret",
    "metadata": {"name": "s"},
    "data": {"key": base64.b64encode(b"hidden").decode()},
}
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 7, "runAsGroup": 8, "fsGroup": 9},
        "terminationGracePeriodSeconds": 60,
        "containers": [
            {
                "name": "one",
                "image": "i:1",
                "args": ["serve", "$(NAME)", "$$(NAME)", "$(OTHER)"],
                "env": [
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "FULL", "value": "$(NAME).peers"},
                    {"name": "EARLY", "value": "$(LATE)"},
                    {"name": "LATE", "value": "x"},
                    {
                        "name": "KEY",
                        "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}},
                    },
                ],
                "ports": [{"name": "http", "containerPort": 99}],
                "livenessProbe": {"httpGet": {"path": "/l", "port": "http"}, "periodSeconds": 5},
                "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
                "securityContext": {
                    "readOnlyRootFilesystem": True,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"limits": {"memory": "1Gi"}},
                "volumeMounts": [
                    {"name": "data", "mountPath": "/data"},
                    {"name": "files", "mountPath": "/etc/it"},
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [{"name": "files", "configMap": {"name": "c"}}, {"name": "tmp", "emptyDir": {}}],
    },
}


@pytest.fixture
def template() -> dict[str, Any]:
    return copy.deepcopy(TEMPLATE)


def plan(template: dict[str, Any]) -> PodPlan:
    return plan_pod(Objects([CONFIG, SECRET]), template, "a-0", "here")


def test_all_of_it_is_taken_over(template: dict[str, Any]) -> None:
    found = plan(template)
    assert found.args == ("serve", "a-0", "$(NAME)", "$(OTHER)")
    assert found.environment == {
        "NAME": "a-0",
        "FULL": "a-0.peers",
        "EARLY": "$(LATE)",
        "LATE": "x",
        "KEY": "hidden",
    }
    assert (found.user, found.group, found.fs_group) == (7, 8, 9)
    assert (found.read_only, found.escalates, found.dropped) == (True, False, ("ALL",))
    assert found.memory_size == 2**30
    assert found.pre_stop == ("sleep", "5")
    assert found.grace_secs == 60
    assert found.liveness == Probe("/l", 99, period_secs=5)
    assert found.readiness is None
    data, files, tmp = found.mounts
    assert (data.kind, data.name, data.read_only) == (CLAIM, "data-a-0", False)
    assert (files.kind, files.read_only) == (FILES, True)
    assert files.files == {"a.yaml": b"a: 1", "b": b"2"}
    assert tmp.kind == SCRATCH


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (("spec",), "hostNetwork"),
        (("spec",), "initContainers"),
        (("spec", "containers", 0), "envFrom"),
        (("spec", "containers", 0), "tty"),
        (("spec", "containers", 0, "securityContext"), "privileged"),
        (("spec", "containers", 0, "livenessProbe"), "exec"),
        (("spec", "containers", 0, "livenessProbe", "httpGet"), "scheme"),
        (("spec", "containers", 0, "lifecycle"), "postStart"),
        (("spec", "containers", 0, "volumeMounts", 0), "subPath"),
        (("spec", "securityContext"), "sysctls"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_the_harness_does_not_do_is_refused_by_name(
    template: dict[str, Any], place: tuple[Any, ...], key: str
) -> None:
    found: Any = template
    for step in place:
        found = found[step]
    found[key] = {}
    with pytest.raises(Unsupported, match=key):
        plan(template)


def test_what_only_a_scheduler_acts_upon_is_let_pass(template: dict[str, Any]) -> None:
    template["spec"]["affinity"] = {"podAntiAffinity": {}}
    assert plan(template).name == "a-0"


def test_a_pod_that_may_be_root_is_refused(template: dict[str, Any]) -> None:
    template["spec"]["securityContext"]["runAsNonRoot"] = False
    with pytest.raises(ValueError, match="root"):
        plan(template)


def test_a_missing_secret_is_told_unless_it_is_optional(template: dict[str, Any]) -> None:
    entry = template["spec"]["containers"][0]["env"][-1]
    entry["valueFrom"]["secretKeyRef"]["name"] = "never"
    with pytest.raises(LookupError, match="never"):
        plan(template)
    entry["valueFrom"]["secretKeyRef"]["optional"] = True
    assert "KEY" not in plan(template).environment


@pytest.mark.parametrize(
    ("text", "size"), [("1Gi", 2**30), ("512Mi", 2**29), ("3k", 3000), (7, 7), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["1.5Gi", "Gi", "1X", "-1"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        size_of(text)


@pytest.mark.parametrize(
    ("text", "whole", "count"), [(1, 3, 1), ("50%", 3, 2), ("34%", 3, 2), ("100%", 5, 5)]
)
def test_counts(text: str | int, whole: int, count: int) -> None:
    assert count_of(text, whole) == count
