"""The production overlay, and what operators change in a copy of it."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.harness.queries import queries
from deploy.harness.rendering import ROOT, Objects, no_kubectl, render

# Changes the settings of kustomize.
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Change], Objects]:
    """Renders a copy of the overlay whose kustomization.yaml was changed."""
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)

    def with_change(change: Change) -> Objects:
        shutil.copytree(ROOT, tmp_path / "k8s")
        folder = tmp_path / "k8s/overlays/production"
        path = folder / "kustomization.yaml"
        settings = yaml.safe_load(path.read_text("utf-8"))
        change(settings)
        path.write_text(yaml.safe_dump(settings))
        return render(folder)

    return with_change


def images(objects: Objects) -> dict[str, str]:
    """By kind of who runs them."""
    found = {}
    for kind in ("StatefulSet", "Deployment", "CronJob"):
        (one,) = objects.of(kind)
        spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        found[kind] = container["image"]
    return found


@pytest.mark.parametrize("path", sorted(ROOT.glob("overlays/*/kustomization.yaml")))
def test_a_patch_is_one_document(path: Path) -> None:
    """kubectl 1.27 and 1.28 take no more of them from a file."""
    files = [one["path"] for one in yaml.safe_load(path.read_text())["patches"] if "path" in one]
    assert files
    for file in files:
        assert len(list(yaml.safe_load_all((path.parent / file).read_text()))) == 1, file


def test_another_namespace_is_asked_for_in_queries_too(
    changed: Callable[[Change], Objects],
) -> None:
    objects = changed(lambda settings: settings.update(namespace="mine"))
    (namespace,) = objects.of("Namespace")
    assert namespace["metadata"]["name"] == "mine"
    asked = {one.where: dict(labels.labels) for one in queries(objects) for labels in one.selectors}
    assert asked["alert TaskqGone"] == {"job": "taskq-peers", "namespace": "mine"}
    (trigger,) = [one for one in queries(objects) if one.where == "trigger of taskq-worker"]
    assert [dict(one.labels).get("namespace") for one in trigger.selectors] == ["mine", "mine"]
    assert 'namespace="taskq"' not in trigger.text


def test_workers_keep_their_number_when_they_are_applied_again(
    changed: Callable[[Change], Objects],
) -> None:
    """Else each `kubectl apply` sets what the autoscaler has set."""
    assert "replicas" not in changed(lambda _: None).one("Deployment", "taskq-worker")["spec"]


def test_without_operators_of_other_makers(changed: Callable[[Change], Objects]) -> None:
    def without(settings: dict[str, Any]) -> None:
        for name in ("monitoring", "autoscaling"):
            settings["components"].remove(f"../../components/{name}")

    objects = changed(without)
    assert objects.one("Deployment", "taskq-worker")["spec"]["replicas"] == 1
    assert not {one["kind"] for one in objects} & {"ScaledObject", "PrometheusRule"}


def test_nodes_are_upgraded_before_their_clients(changed: Callable[[Change], Objects]) -> None:
    def newer(settings: dict[str, Any]) -> None:
        (nodes,) = [one for one in settings["images"] if one["name"] == "taskq"]
        nodes["newTag"] = "9.9.9"

    tags = {kind: image.rpartition(":")[2] for kind, image in images(changed(newer)).items()}
    assert tags["StatefulSet"] == "9.9.9"
    assert tags["Deployment"] == tags["CronJob"] != "9.9.9"


def test_a_label_for_the_prometheus_operator(changed: Callable[[Change], Objects]) -> None:
    """As README.md has it."""
    text = (ROOT / "README.md").read_text("utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.S) if "release" in one]
    (patch,) = yaml.safe_load(textwrap.dedent(block))
    objects = changed(lambda settings: settings["patches"].append(patch))
    labelled = {one["kind"] for one in objects if "release" in one["metadata"].get("labels", {})}
    assert labelled == {"ServiceMonitor", "PrometheusRule"}


def test_an_operator_without_rights_elsewhere_is_let_in(
    changed: Callable[[Change], Objects],
) -> None:
    objects = changed(lambda _: None)
    binding = objects.one("RoleBinding", "taskq-prometheus")
    subject = {"kind": "ServiceAccount", "name": "prometheus-k8s", "namespace": "monitoring"}
    assert binding["subjects"] == [subject]
    assert binding["roleRef"]["name"] == objects.one("Role", "taskq-prometheus")["metadata"]["name"]
