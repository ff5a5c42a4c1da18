"""The pods of a StatefulSet as a cluster that chaos' load, faults and checkers know."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

from chaos.live.asking import ask
from chaos.live.cluster import LiveCluster
from chaos.live.ground import Ground
from chaos.live.node import LiveNode
from deploy.harness.files import CLAIM
from deploy.harness.machine import Machine
from deploy.harness.names import known_here
from deploy.harness.operator_steps import Prepared
from deploy.harness.pod import Pod
from deploy.harness.pod_spec import plan_pod
from deploy.harness.rendering import Object
from deploy.harness.stateful_set import StatefulSet

NAME = "taskq"
# Where the node keeps its data on its volume: a test holds the settings to it.
DATA = "data"
START_SECS = 120.0


class PodNode(LiveNode):
    """The node in the pod of this ordinal, whichever pod that is now."""

    def __init__(
        self, stateful_set: StatefulSet, machine: Machine, ordinal: int, port: int
    ) -> None:
        name = f"{NAME}-{ordinal}"
        volume = machine.claim(f"{DATA}-{name}")
        super().__init__(volume, port=port)
        self.folder = volume / DATA
        self.log = machine.log(name)
        self._ordinal = ordinal
        self._set = stateful_set

    @property
    def pod(self) -> Pod:
        """Raises LookupError where there is none at this moment."""
        return self._set.pods[self._ordinal]

    @property
    def host(self) -> str:
        """The address of the pod that is there now; one that nobody has where there is none."""
        pod = self._set.pods.get(self._ordinal)
        return "0.0.0.1" if pod is None else pod.address

    @host.setter
    def host(self, _: str) -> None:
        """Addresses are the machine's business."""

    @property
    def running(self) -> bool:
        """Whether its container runs."""
        pod = self._set.pods.get(self._ordinal)
        return pod is not None and pod.running

    @property
    def returncode(self) -> int | None:
        """The last exit code of the present pod's container."""
        pod = self._set.pods.get(self._ordinal)
        return pod.exit_codes[-1] if pod is not None and pod.exit_codes else None

    def kill_soon(self) -> None:
        """SIGKILL; it stays down until `spawn`."""
        self.pod.suspend()

    def kill(self) -> None:
        """As `kill_soon`, which waits."""

    def spawn(self) -> None:
        """Its pod goes on."""
        self.pod.resume()


class PodCluster(LiveCluster):
    """The StatefulSet that `steps` apply, on `machine`. In its block names are known to this
    process."""

    def __init__(self, machine: Machine, steps: Prepared) -> None:
        objects = steps.objects
        self.ground = Ground()
        self.paused = set()
        self.machine = machine
        self.objects = objects
        self.steps = steps
        self._tls = None
        if steps.authority is not None:
            self._tls = ssl.create_default_context(cafile=str(steps.authority))
        self.set = StatefulSet(machine, objects, NAME)
        self.namespace = objects.one("StatefulSet", NAME)["metadata"]["namespace"]
        template = objects.one("StatefulSet", NAME)["spec"]["template"]
        plan = plan_pod(objects, template, NAME, self.namespace)
        self.ports: Mapping[str, int] = plan.ports
        claims = [mount.name for mount in plan.mounts if mount.kind == CLAIM]
        assert claims == [f"{DATA}-{NAME}"]
        self.nodes = {}
        self.members(self.set.replicas)
        self._names = known_here(self.lookup)

    def members(self, count: int) -> None:
        """So many members are there, or are to be."""
        ordinals = range(count)
        self.nodes = {
            f"{NAME}-{ordinal}": self.nodes.get(f"{NAME}-{ordinal}")
            or PodNode(self.set, self.machine, ordinal, self.ports["client"])
            for ordinal in ordinals
        }

    @property
    def budget(self) -> Object:
        """The disruption budget of the nodes."""
        return self.objects.one("PodDisruptionBudget", NAME)

    @property
    def urls(self) -> list[str]:
        """A URL for each founding member by its name, and one of the Service for all clients."""
        port, steps = self.ports["client"], self.steps
        key = f"{steps.keys['admin']}@" if steps.keys else ""
        scheme, query = "taskq", ""
        if steps.authority is not None:
            scheme, query = "taskqs", f"?ca_file={quote(str(steps.authority))}"
        names = [f"{name}.{self.set.service}" for name in self.nodes]
        turns = (names[place:] + names[:place] for place in range(len(names)))
        hosts = [f"{NAME}:{port}", *(",".join(f"{one}:{port}" for one in turn) for turn in turns)]
        return [f"{scheme}://{key}{each}{query}" for each in hosts]

    async def ask(self, name: str, *commands: Any, timeout_secs: float = 2.0) -> list[Any]:
        """The answers of this node itself. Raises TaskqError."""
        node = self.nodes[name]
        return await ask(
            *(node.host, node.port, *commands),
            timeout_secs=timeout_secs,
            key=self.steps.keys.get("admin"),
            tls=self._tls,
            server_name=None if self._tls is None else f"{name}.{self.set.service}",
        )

    def lookup(self, host: str) -> list[str] | None:
        """The addresses of pods and Services; None for any other name."""
        name, _, domain = host.partition(".")
        parts = ["", self.namespace, "svc", "cluster", "local"]
        domains = {".".join(parts[1:count]) for count in range(1, len(parts) + 1)}
        if name == NAME and domain in domains:
            pods = self.set.pods.values()
            return [one.address for one in pods if one.ready_since and not one.terminating]
        service, _, rest = domain.partition(".")
        if service != self.set.service or rest not in domains:
            return None
        pods = self.set.pods.values()
        return [one.address for one in pods if one.name == name and one.running]

    def start(self, names: Iterable[str] = ()) -> None:
        """Pods that were killed go on; see `begin`."""
        for name in names or self.nodes:
            self.nodes[name].spawn()

    def kill(self, *names: str) -> None:
        """SIGKILL to their containers, which stay down."""
        for name in names:
            self.nodes[name].kill_soon()

    def beside(self, kind: str, name: str) -> Pod:
        """A pod of another template (Deployment, CronJob), which is nobody's node; not started."""
        spec = self.objects.one(kind, name)["spec"]
        template = (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]
        plan = plan_pod(self.objects, template, f"{name}-0", self.namespace)
        return Pod(self.machine, plan, "", None)

    async def begin(self) -> None:
        """All pods at once, until they are ready. Raises NotInTime."""
        self.set.start()
        await self.set.until_rolled_out(START_SECS)

    async def end(self) -> None:
        """Looks after no pod any more."""
        await self.set.stop()

    def close(self) -> None:
        """The machine removes what is left."""

    def __enter__(self) -> PodCluster:
        self._names.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._names.__exit__(kind, error, trace)
