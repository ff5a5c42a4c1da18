"""What this installation is: package, protocol, feature levels and storage format."""

from __future__ import annotations

from importlib import metadata

from taskq.commands import PROTOCOL_VERSION
from taskq.levels import LEVEL_MAX, LEVEL_MIN

DISTRIBUTION = "taskq-cluster"


def package_version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def storage_format() -> str:
    """The format of data folders that this installation writes."""
    try:
        from cluster.storage.identity import IDENTITY_FORMAT
    except ImportError:
        return "none (the broker is not installed)"
    return str(IDENTITY_FORMAT)


def version_text() -> str:
    """For `taskq --version`."""
    return (
        f"{DISTRIBUTION} {package_version()}\n"
        f"protocol {PROTOCOL_VERSION}\n"
        f"feature level {_range(LEVEL_MIN, LEVEL_MAX)}\n"
        f"storage format {storage_format()}"
    )


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"
