"""What is rendered: valid for many versions of Kubernetes, closed in, and of one piece."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cluster.config import load_config
from cluster.config.load import Config
from cluster.node import HAND_OVER_SECS
from deploy.harness.files import FILES
from deploy.harness.operator_steps import CLIENTS, TLS, secret
from deploy.harness.pod_spec import PodPlan, plan_pod
from deploy.harness.rendering import ROOT, Objects, no_kubectl, render
from tests.integration.deploy.backups import check_backups

VERSIONS = ("1.27", "1.30", "1.33", "1.37")
# Of other makers, whose schemas are not Kubernetes' own.
FOREIGN = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication"}
# To the end of preStop and of the hand-over; the rest is for the state on its way to the disk.
PRE_STOP_SECS = 8.0
SCHEMA = functools.cache(kubernetes_validate.utils.schema_contents)
TEMPLATES = ("StatefulSet", "Deployment", "CronJob")


def templates(objects: Objects) -> dict[str, Any]:
    """The pod templates, by kind and name of their owner."""
    found = {}
    for kind in TEMPLATES:
        for one in objects.of(kind):
            spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one["spec"]
            found[f"{kind}/{one['metadata']['name']}"] = spec["template"]
    return found


def with_secrets(objects: Objects) -> Objects:
    """And those that the operator makes; their content is of no matter here."""
    (namespace,) = (one["metadata"]["name"] for one in objects.of("Namespace"))
    files = {"ca.pem": b"", "admin": b"a", "worker": b"w"}
    return Objects([*objects, *(secret(namespace, name, files) for name in (TLS, CLIENTS))])


def node(objects: Objects, ordinal: int = 0) -> PodPlan:
    objects = with_secrets(objects)
    owner = objects.one("StatefulSet", "taskq")
    namespace = owner["metadata"]["namespace"]
    return plan_pod(objects, owner["spec"]["template"], f"taskq-{ordinal}", namespace)


def config_of(plan: PodPlan, tmp_path: Any) -> Config:
    """What a node makes of its file and its environment."""
    (files,) = [
        mount.files for mount in plan.mounts if mount.kind == FILES and mount.path == "/etc/taskq"
    ]
    assert files is not None
    path = tmp_path / "taskq.yaml"
    path.write_bytes(files["taskq.yaml"])
    return load_config(path, plan.environment, {})


@pytest.fixture(autouse=True)
def _schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", SCHEMA)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(objects: Objects, version: str) -> None:
    for one in objects:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


def test_an_invalid_object_is_seen(objects: Objects) -> None:
    owner = objects.one("StatefulSet", "taskq")
    wrong = {**owner, "spec": {**owner["spec"], "podManagmentPolicy": "Parallel"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="podManagmentPolicy"):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_every_pod_is_closed_in(objects: Objects) -> None:
    """As the `restricted` level of the Pod Security Standards, which the namespaces enforce, and
    a read-only root file system."""
    whole = with_secrets(objects)
    for name, template in templates(objects).items():
        pod = template["spec"]
        plan = plan_pod(whole, template, "a-0", "here")
        assert plan.user == 10001, name
        assert plan.read_only, name
        assert not plan.escalates, name
        assert plan.dropped == ("ALL",), name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert plan.memory_size, name
    (namespace,) = objects.of("Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_everything_is_in_the_one_namespace(objects: Objects) -> None:
    (namespace,) = objects.of("Namespace")
    for one in objects:
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_what_selects_nodes_selects_nodes(objects: Objects) -> None:
    owner = objects.one("StatefulSet", "taskq")
    labels = owner["spec"]["template"]["metadata"]["labels"].items()
    headless, clients = objects.one("Service", "taskq-peers"), objects.one("Service", "taskq")
    budget = objects.one("PodDisruptionBudget", "taskq")
    policy = objects.one("NetworkPolicy", "taskq")
    selectors = [
        *(headless["spec"]["selector"], clients["spec"]["selector"]),
        *(budget["spec"]["selector"]["matchLabels"], policy["spec"]["podSelector"]["matchLabels"]),
        owner["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    for name, template in templates(objects).items():
        if not name.startswith("StatefulSet"):
            others = template["metadata"]["labels"].items()
            assert not any(selector.items() <= others for selector in selectors), name


def test_the_cluster_can_be_founded_and_found(objects: Objects) -> None:
    owner, headless = objects.one("StatefulSet", "taskq"), objects.one("Service", "taskq-peers")
    assert owner["spec"]["serviceName"] == "taskq-peers"
    assert owner["spec"]["podManagementPolicy"] == "Parallel"
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["publishNotReadyAddresses"] is True
    ports = {port["name"]: port["containerPort"] for port in _container(objects)["ports"]}
    for service in objects.of("Service"):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


@pytest.mark.parametrize("ordinal", [0, 2, 4])
def test_a_node_takes_its_settings(objects: Objects, ordinal: int, tmp_path: Any) -> None:
    plan = node(objects, ordinal)
    config = config_of(plan, tmp_path)
    name = f"taskq-{ordinal}"
    assert config.raft.node_id == name
    assert config.raft.advertise == f"{name}.taskq-peers:6380"
    assert config.broker.advertise == f"{name}.taskq-peers.{plan.namespace}.svc:6379"
    peers = [str(peer) for peer in config.raft.peers]
    assert peers == [f"taskq-{one}=taskq-{one}.taskq-peers:6380" for one in range(3)]
    assert config.raft.advertise == peers[ordinal].partition("=")[2] if ordinal < 3 else True
    (claim,) = [mount.path for mount in plan.mounts if mount.kind == "claim"]
    assert str(config.persistence.data_dir).startswith(f"{claim}/")
    served = {config.broker.port, config.raft.port, config.monitoring.prometheus_port}
    assert served == set(plan.ports.values())


def test_there_is_room_on_the_volume_and_in_memory(objects: Objects, tmp_path: Any) -> None:
    plan = node(objects)
    persistence = config_of(plan, tmp_path).persistence
    (claim,) = objects.one("StatefulSet", "taskq")["spec"]["volumeClaimTemplates"]
    assert f"{claim['metadata']['name']}-taskq-0" in {mount.name for mount in plan.mounts}
    size = claim["spec"]["resources"]["requests"]["storage"]
    assert int(size.removesuffix("Gi")) * 2**30 > 8 * persistence.disk_reserve_bytes


def test_a_node_has_time_to_stop_and_to_start(objects: Objects) -> None:
    plan = node(objects)
    assert plan.pre_stop
    assert plan.grace_secs > 2 * (PRE_STOP_SECS + HAND_OVER_SECS)
    assert plan.startup is not None
    assert plan.liveness is not None
    assert plan.readiness is not None
    assert plan.startup.period_secs * plan.startup.failures_max >= 600
    paths = (plan.startup.path, plan.liveness.path, plan.readiness.path)
    assert paths == ("/startupz", "/livez", "/readyz")


def test_one_at_a_time(objects: Objects) -> None:
    assert objects.one("PodDisruptionBudget", "taskq")["spec"]["maxUnavailable"] == 1
    assert objects.one("StatefulSet", "taskq")["spec"]["updateStrategy"]["type"] == "RollingUpdate"


def test_the_raft_port_is_for_members_only(objects: Objects) -> None:
    spec = objects.one("NetworkPolicy", "taskq")["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    for rule in spec["ingress"]:
        assert rule.get("from"), "a rule without a sender lets everybody in"
        ports = {port["port"] for port in rule["ports"]}
        if "raft" in ports:
            assert ports == {"raft"}
            assert rule["from"] == [{"podSelector": spec["podSelector"]}]
    assert {"raft"} in [{port["port"] for port in rule["ports"]} for rule in spec["ingress"]]


def test_all_run_the_same_image_as_it_comes(objects: Objects) -> None:
    """Tests and exercises give one image its name."""
    found = {
        one["image"] for each in templates(objects).values() for one in each["spec"]["containers"]
    }
    assert len(found) == 1


def test_process_1_is_what_passes_signals_on(objects: Objects) -> None:
    """The image's entrypoint: a program in its place is deaf to SIGTERM."""
    for name, template in templates(objects).items():
        (container,) = template["spec"]["containers"]
        assert "command" not in container, name


def backup_script(objects: Objects, folder: Path) -> list[str]:
    """The command of the backup, with its files in `folder`."""
    template = templates(objects)["CronJob/taskq-backup"]
    (container,) = template["spec"]["containers"]
    return [word.replace("/backups", str(folder)) for word in container["args"]]


@pytest.mark.parametrize("works", [True, False])
def test_a_backup_leaves_the_newest(objects: Objects, tmp_path: Path, works: bool) -> None:
    check_backups(backup_script(objects, tmp_path / "kept"), tmp_path, works)


OFFLINE = yaml.safe_load((ROOT / "offline.yaml").read_text("utf-8"))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pod_for_stopped_nodes_is_valid(version: str) -> None:
    kubernetes_validate.validate(OFFLINE, version, strict=True)


def test_the_pod_for_stopped_nodes_is_as_theirs(objects: Objects) -> None:
    """It leaves files that a node can write, on the volumes that there are; and no Service or
    policy takes it for a node."""
    theirs = node(objects)
    plan = plan_pod(Objects([]), OFFLINE, OFFLINE["metadata"]["name"], theirs.namespace)
    assert (plan.user, plan.group, plan.fs_group) == (theirs.user, theirs.group, theirs.fs_group)
    assert (plan.read_only, plan.escalates, plan.dropped) == (True, False, ("ALL",))
    (claim,) = objects.one("StatefulSet", "taskq")["spec"]["volumeClaimTemplates"]
    places = {mount.path: mount.name for mount in plan.mounts}
    backups = objects.one("PersistentVolumeClaim", "taskq-backups")["metadata"]["name"]
    assert places == {
        "/var/lib/taskq": f"{claim['metadata']['name']}-taskq-0",
        "/backups": backups,
    }
    assert not set(plan.labels.values()) & set(theirs.labels.values())


def test_the_pod_for_stopped_nodes_runs_the_image_of_production() -> None:
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)
    (container,) = OFFLINE["spec"]["containers"]
    assert container["image"] == _container(render(ROOT / "overlays/production"))["image"]


def _container(objects: Objects) -> Any:
    (found,) = objects.one("StatefulSet", "taskq")["spec"]["template"]["spec"]["containers"]
    return found
