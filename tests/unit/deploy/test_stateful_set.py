"""The controller: who is created, replaced and left alone, step by step."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from deploy.harness import stateful_set
from deploy.harness.rendering import Objects
from deploy.harness.stateful_set import StatefulSet

OWNER: dict[str, Any] = {
    "kind": "StatefulSet",
    "metadata": {"name": "a", "namespace": "here"},
    "spec": {
        "serviceName": "peers",
        "replicas": 3,
        "selector": {},
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "minReadySeconds": 5,
        "template": {
            "metadata": {"labels": {}},
            "spec": {
                "securityContext": {"runAsNonRoot": True, "runAsUser": 1},
                "containers": [{"name": "one", "image": "i:1"}],
            },
        },
    },
}


class APod:
    """Ready when the test says so; gone as soon as it is deleted."""

    def __init__(self, _machine: Any, plan: Any, revision: str, _service: str) -> None:
        self.plan, self.revision, self.name = plan, revision, plan.name
        self.ready_since: float | None = None
        self.terminating = False
        self.ended = asyncio.Event()

    def start(self) -> None:
        pass

    async def delete(self) -> None:
        self.ended.set()


def objects(image: str) -> Objects:
    owner = copy.deepcopy(OWNER)
    owner["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return Objects([owner])


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> StatefulSet:
    monkeypatch.setattr(stateful_set, "Pod", APod)
    machine: Any = None
    return StatefulSet(machine, objects("i:1"), "a")


async def steps(controller: StatefulSet, count: int = 5) -> None:
    for _ in range(count):
        controller._reconcile()
        await asyncio.sleep(0)


def images(controller: StatefulSet) -> list[str]:
    return [pod.plan.image for _, pod in sorted(controller.pods.items())]


def all_ready(controller: StatefulSet) -> None:
    for pod in controller.pods.values():
        pod.ready_since = 60.0


async def test_all_are_created_at_once(controller: StatefulSet) -> None:
    controller._reconcile()
    assert [pod.name for pod in controller.pods.values()] == ["a-0", "a-1", "a-2"]
    assert not controller.rolled_out
    all_ready(controller)
    assert controller.rolled_out


async def test_a_roll_goes_from_the_last_to_the_first_and_waits(controller: StatefulSet) -> None:
    await steps(controller)
    all_ready(controller)
    controller.apply(objects("i:2"))
    await steps(controller)
    assert images(controller) == ["i:1", "i:1", "i:2"]
    controller.pods[2].ready_since = 0.0
    await steps(controller)
    assert images(controller) == ["i:1", "i:2", "i:2"], "it waits for minReadySeconds"
    all_ready(controller)
    await steps(controller)
    all_ready(controller)
    await steps(controller)
    assert images(controller) == ["i:2", "i:2", "i:2"]
    assert controller.rolled_out


async def test_a_pod_that_fails_holds_the_roll_up_and_goes_when_it_is_undone(
    controller: StatefulSet,
) -> None:
    await steps(controller)
    all_ready(controller)
    before = dict(controller.pods)
    controller.apply(objects("i:wrong"))
    await steps(controller, 20)
    assert images(controller) == ["i:1", "i:1", "i:wrong"]
    controller.apply(objects("i:1"))
    await steps(controller)
    assert images(controller) == ["i:1", "i:1", "i:1"]
    assert [controller.pods[one] is before[one] for one in range(3)] == [True, True, False]


async def test_a_pod_that_dies_before_its_turn_comes_back_as_it_was(
    controller: StatefulSet,
) -> None:
    await steps(controller)
    all_ready(controller)
    controller.apply(objects("i:wrong"))
    await steps(controller)
    controller.delete(controller.pods[0])
    await steps(controller)
    assert images(controller) == ["i:1", "i:1", "i:wrong"]


async def test_scaling(controller: StatefulSet) -> None:
    await steps(controller)
    controller.scale(5)
    await steps(controller)
    assert sorted(controller.pods) == [0, 1, 2, 3, 4]
    controller.scale(3)
    await steps(controller)
    assert sorted(controller.pods) == [0, 1, 2]
