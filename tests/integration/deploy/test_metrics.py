"""Every metric that an alert, a panel or an autoscaler asks for is told by a running node."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chaos.live.node import LiveNode
from cluster.certificates.folder import issue
from deploy.harness.queries import Query, Selector, queries
from deploy.harness.rendering import ROOT, no_kubectl, render
from taskq import Client

# Prometheus makes it itself, of whether a node answered.
OF_PROMETHEUS = {"up"}
# Told by kube-state-metrics, of the backup.
OF_KUBERNETES = {"kube_cronjob_status_last_successful_time", "kube_cronjob_created"}
# Given to all metrics of a node by who asks it.
TARGET_LABELS = {"namespace", "pod", "job", "instance"}
# The queue of the example.
QUEUE = "shop"


@pytest.fixture(scope="module")
def asked() -> list[Query]:
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)
    return queries(render(ROOT / "overlays/production"))


def page(node: LiveNode) -> str:
    host, _, port = node.addresses()["monitoring"].rpartition(":")

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n")
        answer = await reader.read(-1)
        writer.close()
        return answer

    return asyncio.run(ask()).partition(b"\r\n\r\n")[2].decode()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """The samples of a node at work: names and labels."""
    home = tmp_path_factory.mktemp("node")
    issued = issue(home / "certs", {"node1": ["127.0.0.1"]}, (), days=1)
    (mine,) = issued.nodes
    settings = {
        "api.enable_tls": True,
        "api.cert_file": mine.cert_file,
        "api.key_file": mine.key_file,
    }
    with LiveNode(home, settings) as node:
        node.spawn()
        asyncio.run(node.serving())
        url = node.url.replace("taskq://", "taskqs://")
        with Client(url, ca_file=issued.ca_file) as client:
            client.submit(QUEUE, b"1")
            worker = client.worker()
            worker.register()
            (task,) = worker.claim([QUEUE], 1)
            worker.complete(task, b"done")
            client.submit(QUEUE, b"2")
        families = text_string_to_metric_families(page(node))
        return {
            (sample.name, frozenset(sample.labels.items()))
            for family in families
            for sample in family.samples
        }


def test_every_metric_is_told(
    asked: list[Query], told: set[tuple[str, frozenset[tuple[str, str]]]]
) -> None:
    missing = [
        (one.where, wanted) for one in asked for wanted in one.selectors if not _is(wanted, told)
    ]
    assert missing == []
    assert len(asked) > 30
    assert all(one.selectors for one in asked), "a query about nothing"


def test_a_misspelt_metric_is_seen(told: set[tuple[str, frozenset[tuple[str, str]]]]) -> None:
    assert not _is(Selector("tq_is_leaders"), told)
    assert not _is(Selector("tq_tasks_total", (("outcome", "died"),)), told)
    assert _is(Selector("tq_tasks_total", (("outcome", "dead"), ("namespace", "any"))), told)


def _is(wanted: Selector, told: set[tuple[str, frozenset[tuple[str, str]]]]) -> bool:
    if wanted.metric in OF_PROMETHEUS | OF_KUBERNETES:
        return True
    labels = {pair for pair in wanted.labels if pair[0] not in TARGET_LABELS}
    return any(name == wanted.metric and labels <= has for name, has in told)
