"""Where a port of the node listens, which settings say so, and why it cannot."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from cluster.config import Config


class Place(NamedTuple):
    """A host and a port, and the paths of the settings that they come from."""

    host: str
    port: int
    port_key: str
    host_key: str = "broker.host"

    def obstacle(self, error: OSError) -> str:
        """Why it cannot be listened there, with the setting to change."""
        host, port, port_key, host_key = self
        if error.errno == errno.EADDRINUSE:
            return f"port {port} on {host} is taken by another program: change {port_key}"
        if error.errno == errno.EACCES:
            return f"port {port} on {host} is reserved for the system: change {port_key}"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: change {host_key}"
        if isinstance(error, socket.gaierror):
            return f"no address is known for {host} ({error.strerror}): change {host_key}"
        reason = error.strerror or error
        return f"cannot listen on {host} port {port}: {reason} ({host_key}, {port_key})"


def place_of_clients(config: Config) -> Place:
    """Of the port for clients and workers."""
    return Place(config.broker.host, config.broker.port, "broker.port")


def place_of_raft(config: Config) -> Place:
    """Of the port for the other members."""
    return Place(config.broker.host, config.raft.port, "raft.port")


def place_of_monitoring(config: Config) -> Place:
    """Of the port for metrics and probes."""
    port, port_key = config.monitoring.prometheus_port, "monitoring.prometheus_port"
    if config.monitoring.host is None:
        return Place(config.broker.host, port, port_key)
    return Place(config.monitoring.host, port, port_key, "monitoring.host")
