"""The controller of a StatefulSet: which pods are there, and of which revision.

All are started at once (`podManagementPolicy: Parallel`). A change of the template replaces them
one by one, the highest ordinal first; the next as soon as the one before is ready: Kubernetes 1.27
to 1.33 heed no `minReadySeconds` where pods are managed in parallel (kubernetes#119234). A pod that
cannot start holds the roll up, and is replaced at once when the template changes again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from deploy.harness.machine import Machine
from deploy.harness.pod import Pod
from deploy.harness.pod_spec import plan_pod
from deploy.harness.rendering import Object, Objects
from deploy.harness.strictly import only

LOOK_SECS = 0.1
_KNOWN = {
    *("serviceName", "replicas", "selector", "podManagementPolicy", "updateStrategy"),
    *("minReadySeconds", "persistentVolumeClaimRetentionPolicy", "template"),
    "volumeClaimTemplates",
}


class NotInTime(Exception):
    """The pods did not come to where they should be; the message says what was there."""


class StatefulSet:
    """The one called `name` in `objects`, on `machine`. Nothing runs until `start`."""

    def __init__(self, machine: Machine, objects: Objects, name: str) -> None:
        self._machine = machine
        self._name = name
        self.pods: dict[int, Pod] = {}
        self._templates: dict[str, tuple[Objects, Object]] = {}
        self._deleting: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self.replicas = 0
        self.wanted = self._take(objects)
        self.current = self.wanted
        # Pods from this ordinal on are of the wanted revision, those below of the current one.
        self._rolled = 0

    def _take(self, objects: Objects) -> str:
        """The revision of these objects. What the template names is part of it: a ConfigMap whose
        name ends in a hash of its content."""
        owner = objects.one("StatefulSet", self._name)
        spec = owner["spec"]
        only("StatefulSet", spec, _KNOWN)
        assert spec["podManagementPolicy"] == "Parallel", "the others are not played here"
        assert spec["updateStrategy"] == {"type": "RollingUpdate"}
        self.replicas = spec["replicas"]
        self.service: str = spec["serviceName"]
        self._namespace = owner["metadata"]["namespace"]
        text = json.dumps(spec["template"], sort_keys=True)
        revision = hashlib.sha256(text.encode()).hexdigest()[:10]
        self._templates[revision] = (objects, spec["template"])
        return revision

    def start(self) -> None:
        """Begins to see to it that all is as it should be."""
        self._keeper = asyncio.create_task(self._keep())

    def apply(self, objects: Objects) -> None:
        """As `kubectl apply`: begins a roll where the template differs."""
        wanted = self._take(objects)
        if wanted != self.wanted:
            self.wanted = wanted
            self._rolled = self.replicas

    def scale(self, replicas: int) -> None:
        """As `kubectl scale`."""
        self.replicas = replicas

    def delete(self, pod: Pod) -> asyncio.Task[None]:
        """As `kubectl delete pod`, and does not wait; a new one takes its place."""
        pod.terminating = True
        task = asyncio.create_task(pod.delete())
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)
        return task

    async def _keep(self) -> None:
        while True:
            self._reconcile()
            await asyncio.sleep(LOOK_SECS)

    def _reconcile(self) -> None:
        for ordinal, pod in list(self.pods.items()):
            if pod.ended.is_set():
                del self.pods[ordinal]
        for ordinal in range(self.replicas):
            if ordinal not in self.pods:
                self._create(ordinal)
        for ordinal in [one for one in self.pods if one >= self.replicas]:
            if not self.pods[ordinal].terminating:
                self.delete(self.pods[ordinal])
        self._roll()

    def _create(self, ordinal: int) -> None:
        revision = self.wanted if ordinal >= self._rolled else self.current
        objects, template = self._templates[revision]
        plan = plan_pod(objects, template, f"{self._name}-{ordinal}", self._namespace)
        self.pods[ordinal] = Pod(self._machine, plan, revision, self.service)
        self.pods[ordinal].start()

    def _roll(self) -> None:
        for ordinal in reversed(range(self.replicas)):
            pod = self.pods[ordinal]
            if pod.revision != self.wanted and not pod.terminating:
                self._rolled = min(self._rolled, ordinal)
                self.delete(pod)
                return
            if not self._ready(pod):
                return
        self.current, self._rolled = self.wanted, 0

    @staticmethod
    def _ready(pod: Pod) -> bool:
        return not pod.terminating and pod.ready_since is not None

    @property
    def rolled_out(self) -> bool:
        """As `kubectl rollout status` says at its end."""
        pods = [self.pods.get(ordinal) for ordinal in range(self.replicas)]
        return len(self.pods) == self.replicas and all(
            pod is not None and pod.revision == self.wanted and self._ready(pod) for pod in pods
        )

    async def until_rolled_out(self, timeout_secs: float) -> None:
        """Raises NotInTime, and what ended the life of a pod."""
        try:
            async with asyncio.timeout(timeout_secs):
                while not self.rolled_out:
                    self.check()
                    await asyncio.sleep(LOOK_SECS)
        except TimeoutError:
            raise NotInTime(f"after {timeout_secs:.0f} s: {self.told()}") from None

    def check(self) -> None:
        """Raises what ended the controller or a pod's keeper before its time."""
        for task in (self._keeper, *self._deleting):
            if task is not None and task.done():
                task.result()
        for pod in self.pods.values():
            pod.check()

    def told(self) -> list[dict[str, Any]]:
        """As `kubectl get pods`."""
        return [
            {
                "pod": pod.name,
                "ready": pod.ready_since is not None,
                "terminating": pod.terminating,
                "restarts": pod.restarts,
                "exit_codes": pod.exit_codes,
                "new": pod.revision == self.wanted,
            }
            for _, pod in sorted(self.pods.items())
        ]

    async def stop(self) -> None:
        """Lets go of all pods, as they are; the machine removes what still runs."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for pod in self.pods.values():
            await pod.abandon()
        await asyncio.gather(*self._deleting, return_exceptions=True)
