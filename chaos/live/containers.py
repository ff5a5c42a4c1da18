"""The members of a cluster as containers of the project's image, in a network of their own.

Each has a fixed address, at which clients on this machine reach it, and a name that the engine's
DNS knows while it runs: members find each other by name, as pods do. Folders are bind mounts, so
that whoever judges a run can read them, and harm them.
"""

from __future__ import annotations

import ipaddress
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import psutil
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, IPAMConfig, IPAMPool
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from chaos.live.container_node import ContainerNode
from chaos.live.ground import CLIENTS, FOLDER, LINKS, SHIM, Ground
from chaos.live.links import NamespaceLinks

IMAGE = "taskq"
# On everything that we make: the process that made it, so that the next one can remove what a
# killed one left behind.
OWNER = "taskq.chaos.owner"
# Networks are taken from here; the engine refuses those that this machine already uses.
POOL = ipaddress.ip_network("10.213.0.0/16")
ATTEMPTS_MAX = 20
# This machine has the first one.
OURS, FIRST_ADDRESS = 1, 11
# What the image's user is, where we are root; else containers run as whoever runs the experiment.
IMAGE_USER = 10001

# Of the engine's API that has addresses of one's own in a network.
API = "1.41"

# Its watchdog is an image of its own, which is not to be had everywhere; `sweep` does its work.
testcontainers_config.ryuk_disabled = True


class Containers(Ground):
    """Containers of `image`: read-only, without privileges, not root; each may use `memory_size`
    bytes, or what there is. `seed`: of the packets that are held up or lost."""

    form = "containers"

    def __init__(self, image: str = IMAGE, memory_size: int | None = None, seed: int = 0) -> None:
        self._image = image
        self._seed = seed
        self._memory_size = memory_size
        self._network: Network | None = None
        # All addresses of the network, from `prepare` on.
        self.subnet = POOL
        self._addresses: dict[str, str] = {}
        self._owner = {OWNER: str(os.getpid())}
        self._links: NamespaceLinks | None = None
        self.user = os.getuid() or IMAGE_USER
        # Links are cut from outside, which only root may.
        self.abilities = frozenset({FOLDER, SHIM} | (set() if os.getuid() else {LINKS}))

    @property
    def links(self) -> NamespaceLinks:
        """Raises LookupError where we are not root."""
        if self._links is None or LINKS not in self.abilities:
            raise LookupError("links of containers need root")
        return self._links

    def prepare(self, names: Sequence[str]) -> None:
        """Makes the network; also removes what dead runs left. Raises OSError where no engine
        answers, there is no image, or no address is free."""
        try:
            sweep(self._image)
            subnet = self.subnet = self._make_network()
        except ImageNotFound as error:
            raise OSError(f"there is no image {self._image}: make image") from error
        except DockerException as error:
            raise OSError(f"no network for containers: {error}") from error
        places = {name: place for place, name in enumerate(names, FIRST_ADDRESS)}
        self._addresses = {name: str(subnet[place]) for name, place in places.items()}
        everybody = {**self._addresses, CLIENTS: str(subnet[OURS])}
        self._links = NamespaceLinks(everybody, self._seed)

    @property
    def network(self) -> str:
        """Its name at the engine. Raises LookupError unless the ground is prepared."""
        if self._network is None:
            raise LookupError("no network to start a container in")
        return str(self._network.name)

    def joined(self, name: str, pid: int) -> None:
        """The member's container has started, with this process as its first. Raises OSError."""
        if self._links is not None and LINKS in self.abilities:
            self._links.join(name, Path(f"/proc/{pid}/ns/net"))

    def _make_network(self) -> ipaddress.IPv4Network:
        choices = random.SystemRandom().sample(list(POOL.subnets(new_prefix=24)), ATTEMPTS_MAX)
        for subnet in choices:
            pool = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))])
            network = Network(docker_network_kw={"ipam": pool, "labels": self._owner})
            try:
                self._network = network.create()
            except APIError as error:
                if "overlap" not in str(error):
                    raise
                continue
            assert isinstance(subnet, ipaddress.IPv4Network)
            return subnet
        raise OSError(f"all networks of {POOL} that were tried are taken")

    def host(self, name: str) -> str:
        """The container's address."""
        return self._addresses[name]

    def peer_host(self, name: str) -> str:
        """The container's name, which is looked up anew at every dial."""
        return name

    def node(self, name: str, home: Path, settings: Mapping[str, Any], port: int) -> ContainerNode:
        """The member's node, not running."""
        return ContainerNode(self, name, home, settings, host=self.host(name), port=port)

    def container(
        self, name: str, command: Sequence[str], mounts: Mapping[str, str], **options: Any
    ) -> DockerContainer:
        """A container in this network, known there as `name`, that has not started; it is removed
        when the ground is closed. `mounts`: paths of this machine, at the same place there, each
        with "ro" or "rw". `options`: to the engine, beside ours. Raises LookupError where the
        ground is closed."""
        network = self.network
        place = EndpointConfig(API, aliases=[name], ipv4_address=self._addresses.get(name))
        made = DockerContainer(self._image).with_command(list(command))
        for path, mode in mounts.items():
            made.with_volume_mapping(path, path, mode)
        return made.with_kwargs(
            network=network,
            networking_config={network: place},
            hostname=name,
            user=f"{self.user}:{self.user}",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=self._memory_size,
            memswap_limit=self._memory_size,
            labels=self._owner,
            **options,
        )

    def close(self) -> None:
        """Removes the network and every container in it."""
        if self._links is not None:
            self._links.close()
            self._links = None
        if self._network is not None:
            network, self._network = self._network, None
            engine = docker.from_env()
            _remove(engine.networks.get(network.name), engine)
            engine.close()


def sweep(image: str) -> None:
    """Removes containers and networks whose experiment is no more. Raises DockerException; where
    there is no such image, ImageNotFound."""
    engine = docker.from_env()
    engine.images.get(image)
    for network in engine.networks.list(filters={"label": OWNER}):
        if not psutil.pid_exists(int(network.attrs["Labels"][OWNER])):
            _remove(network, engine)
    engine.close()


def _remove(network: Any, engine: Any) -> None:
    """With every container that is, or was, in it."""
    found = engine.containers.list(all=True, filters={"network": network.id})
    for container in found:
        _remove_container(container)
    network.remove()


def _remove_container(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        pass  # somebody was faster
