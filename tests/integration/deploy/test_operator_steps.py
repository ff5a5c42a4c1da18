"""The steps of an operator: what production trusts is what the operator has made."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config import load_config
from deploy.harness.operator_steps import CLIENTS, TLS, Prepared, prepared
from deploy.harness.pod_spec import PodPlan, plan_pod
from deploy.harness.rendering import no_kubectl
from taskq.cli.keys import hash_of


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)
    return prepared("production", tmp_path_factory.mktemp("operator"))


def shown_key(plan: PodPlan) -> bytes:
    """What the pod's clients show. It is read at each connection, so that a key can be rolled over
    below them, from a file that nothing else of the Secret lies beside."""
    path = Path(plan.environment["TASKQ_API_KEY"].removeprefix("@"))
    (files,) = [mount.files for mount in plan.mounts if mount.path == str(path.parent)]
    assert files is not None
    assert list(files) == [path.name]
    return files[path.name]


def test_every_key_has_its_hash_in_the_settings(production: Prepared) -> None:
    owner = production.objects.one("StatefulSet", "taskq")
    plan = plan_pod(production.objects, owner["spec"]["template"], "taskq-1", "taskq")
    config = load_config(production.settings, plan.environment, {})
    assert {one.role: one.hash for one in config.auth.api_keys} == {
        role: hash_of(key) for role, key in production.keys.items()
    }
    assert set(production.keys) == {"admin", "worker", "producer"}
    assert shown_key(plan) == production.keys["admin"].encode()
    assert config.api.enable_tls
    assert config.auth.enabled
    assert str(config.raft.cert_file) == str(config.api.cert_file) == "/etc/taskq-tls/taskq-1.pem"


def test_no_node_has_the_key_of_the_authority(production: Prepared) -> None:
    files = production.objects.data("Secret", TLS)
    ordinals = range(5)
    names = {f"taskq-{one}.{kind}" for one in ordinals for kind in ("pem", "key")}
    assert set(files) == {"ca.pem", *names}
    assert b"PRIVATE" not in files["ca.pem"]


def test_workers_have_no_more_than_they_need(production: Prepared) -> None:
    template = production.objects.one("Deployment", "taskq-worker")["spec"]["template"]
    plan = plan_pod(production.objects, template, "w", "taskq")
    assert shown_key(plan) == production.keys["worker"].encode()
    mounted = [mount.files for mount in plan.mounts if mount.path == "/etc/taskq-tls"]
    assert [set(files or {}) for files in mounted] == [{"ca.pem"}]
    assert set(production.objects.data("Secret", CLIENTS)) == {"admin", "worker"}


def test_backups_have_the_key_of_an_admin(production: Prepared) -> None:
    owner = production.objects.one("CronJob", "taskq-backup")
    template = owner["spec"]["jobTemplate"]["spec"]["template"]
    plan = plan_pod(production.objects, template, "b", "taskq")
    assert shown_key(plan) == production.keys["admin"].encode()


def test_nobody_has_a_key_for_the_places_as_they_come() -> None:
    """Zeros and a digit: no key is known that has such a hash."""
    path = Path(__file__).parents[3] / "deploy/k8s/overlays/production/taskq.yaml"
    text = path.read_text("utf-8")
    assert text.count("hash: sha256:" + "0" * 63) == 3
    assert text.count("hash:") == 3
