"""One machine with a container engine: a network for pods, and where their claims and files lie.

Every container gets an address that none had before it, as pods do. Names are those of a
StatefulSet's pods (`taskq-0.taskq-peers`), known to the engine's DNS while a container runs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, Mount

from chaos.live.containers import API, FIRST_ADDRESS, OWNER, Containers
from deploy.harness.files import CLAIM, SCRATCH
from deploy.harness.files import Mount as PlannedMount
from deploy.harness.pod_spec import PodPlan

# Of an address that was given to nobody yet.
LAST_ADDRESS = 250
# Calls of the engine under way at once, most of which wait for the end of a container.
CALLS_MAX = 64
ENGINE_SECS = 120
# Nobody answers there: a name that is not known is refused at once, as a cluster's DNS does.
NO_DNS = "127.0.0.1"


class Machine:
    """Pods of `image` (of the template's, with its name and tag) below `home`. Raises OSError where
    no engine answers or there is no such image. Its block's end removes every container."""

    def __init__(self, home: Path, images: Mapping[str, str]) -> None:
        self.home = home.absolute()
        self._images = dict(images)
        self._ground = Containers(next(iter(self._images.values())))
        self._ground.prepare([])
        self._engine = docker.from_env(timeout=ENGINE_SECS, max_pool_size=CALLS_MAX)
        # Of our own: a thread waits for the end of each container, and asyncio's few are for names.
        self._threads = ThreadPoolExecutor(CALLS_MAX, "engine")
        self._lost: set[Path] = set()
        self._places = iter(range(FIRST_ADDRESS, LAST_ADDRESS))

    # --- addresses --------------------------------------------------------------------------------

    def next_address(self) -> str:
        """One that no pod has had. Raises StopIteration after some 240."""
        return str(self._ground.subnet[next(self._places)])

    def call(self, function: Callable[..., Any], *words: Any) -> Awaitable[Any]:
        """Carries out a call of the engine, which may take long, in a thread of its own."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *words)

    # --- volumes ----------------------------------------------------------------------------------

    def claim(self, name: str) -> Path:
        """The folder of a claim, whether it is there or not."""
        return self.home / "claims" / name

    def lose_claim(self, name: str) -> None:
        """As `kubectl delete pvc`: the volume goes with the pod, and the next has a new one."""
        self._lost.add(self.claim(name))

    def log(self, pod: str) -> Path:
        """What all containers of this pod have said."""
        return self.home / "logs" / f"{pod}.log"

    # --- containers -------------------------------------------------------------------------------

    def create(self, plan: PodPlan, address: str, service: str | None) -> Container:
        """The container of a pod, not started. `service`: the headless Service that names it."""
        aliases = _aliases(plan, service) if service else []
        place = EndpointConfig(API, aliases=aliases, ipv4_address=address)
        network = self._ground.network
        command = {"entrypoint": list(plan.command)} if plan.command else {}
        created = self._engine.containers.create(
            self._images.get(plan.image, plan.image),
            list(plan.args),
            environment=dict(plan.environment),
            hostname=plan.name,
            user=f"{plan.user}:{plan.group}",
            group_add=[] if plan.fs_group is None else [plan.fs_group],
            read_only=plan.read_only,
            cap_drop=list(plan.dropped),
            security_opt=[] if plan.escalates else ["no-new-privileges"],
            mem_limit=plan.memory_size,
            memswap_limit=plan.memory_size,
            working_dir=plan.working_dir,
            mounts=[self._mounted(plan, mount) for mount in plan.mounts],
            network=network,
            networking_config={network: place},
            dns=[NO_DNS],
            dns_search=["."],
            labels={OWNER: str(os.getpid())},
            **command,
        )
        assert isinstance(created, Container)
        return created

    def _mounted(self, plan: PodPlan, mount: PlannedMount) -> Mount:
        if mount.kind == SCRATCH:
            return Mount(mount.path, None, "tmpfs", tmpfs_mode=0o1777)
        if mount.kind == CLAIM:
            folder = self.claim(mount.name)
            if folder in self._lost:
                shutil.rmtree(folder)
                self._lost.discard(folder)
            if not folder.exists():
                folder.mkdir(parents=True)
                _give(folder, plan)
        else:
            folder = self.home / "files" / plan.name / mount.name
            project(folder, mount.files or {}, mount.mode, plan.fs_group)
        return Mount(mount.path, str(folder), "bind", read_only=mount.read_only)

    def exec(self, container: Container, command: Sequence[str]) -> tuple[int | None, str]:
        """Runs a command in a container; its exit code, and what it said."""
        code, output = container.exec_run(list(command))
        return code, output.decode(errors="replace")

    def remove(self, container: Container) -> None:
        """With SIGKILL where it still runs."""
        try:
            container.remove(force=True, v=True)
        except NotFound:
            pass  # removed before

    def close(self) -> None:
        """Removes every container and the network."""
        self._ground.close()
        self._threads.shutdown(wait=True)
        self._engine.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _aliases(plan: PodPlan, service: str) -> list[str]:
    """The names that a cluster's DNS gives a pod of a headless Service, the Service itself, and
    that for clients, which is called as the pods are. (The engine's DNS does not ask who is
    ready.)"""
    clients = plan.labels["app.kubernetes.io/name"]
    own = [f"{plan.name}.{domain}" for domain in _names(service, plan.namespace)]
    return [*own, service, *_names(clients, plan.namespace)]


def _names(service: str, namespace: str) -> list[str]:
    return [service, f"{service}.{namespace}", f"{service}.{namespace}.svc"]


def _give(folder: Path, plan: PodPlan) -> None:
    """A new volume is root's, and open to the group fsGroup, which all that is made in it gets."""
    if plan.fs_group is not None:
        os.chown(folder, -1, plan.fs_group)
        folder.chmod(0o2775)


def project(folder: Path, files: Mapping[str, bytes], mode: int, group: int | None = None) -> None:
    """Writes the files of a ConfigMap or Secret as a kubelet does: into a folder of their own, to
    which `..data` points; a change is one rename of that link, so that nobody sees half of it.
    They are root's and `group`'s."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"..{uuid.uuid4().hex}"
    fresh.mkdir()
    for name, content in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        if group is not None:
            os.chown(path, -1, group)
    current = folder / "..data"
    before = current.readlink() if current.is_symlink() else None
    link = folder / "..data_tmp"
    link.symlink_to(fresh.name)
    link.rename(current)
    tops = {Path(name).parts[0] for name in files}
    for name in tops:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    for path in folder.iterdir():
        if not path.name.startswith("..") and path.name not in tops:
            path.unlink()
    if before is not None:
        shutil.rmtree(folder / before)
