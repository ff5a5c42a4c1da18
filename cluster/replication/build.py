"""Which version this node is, and what it says where it cannot run what the cluster runs (A14)."""

from __future__ import annotations

from importlib import metadata

from taskq.levels import Build


class OtherVersionNeeded(Exception):
    """This version must not go on here; the message names what another one must be able to do. The
    data folder is as the last version left it, or as far as this one could read the log."""


def _version() -> str:
    try:
        return metadata.version("taskq-cluster")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a folder that was never installed


OWN_BUILD = Build(_version())


def refuse_state(build: Build, level: int) -> None:
    """Raises OtherVersionNeeded unless this build can run a state of that feature level."""
    if not build.runs(level):
        raise OtherVersionNeeded(
            f"the state in the data folder is of feature level {level}, and this is {build.text()}:"
            f" start a version that runs level {level}. Nothing was changed"
        )


def refuse_cluster(build: Build, level: int, peer_id: str, told: Build) -> None:
    """Raises OtherVersionNeeded where a peer says that the cluster's level is above what this build
    can run. A lower one says nothing: the peer may be behind."""
    if level > build.level_max:
        raise OtherVersionNeeded(
            f"the cluster is at feature level {level} (says {peer_id}, taskq {told.version}), and "
            f"this is {build.text()}: start a version that runs level {level}. Nothing was changed"
        )
