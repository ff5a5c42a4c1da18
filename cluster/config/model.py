"""The whole configuration: the groups, and where each value came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PrivateAttr
from pydantic.fields import FieldInfo

from cluster.config.groups import Api, Auth, Broker, Group, Monitoring, Persistence, Worker
from cluster.config.raft import Raft

DEFAULT = "default"


class Config(Group):
    """A node's configuration, frozen and valid. Made by `load_config`.

    `Config()` is the defaults, as a test or an embedding program may want them.
    """

    broker: Broker = Broker()
    persistence: Persistence = Persistence()
    raft: Raft = Raft()
    api: Api = Api()
    auth: Auth = Auth()
    monitoring: Monitoring = Monitoring()
    worker: Worker = Worker()

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _warnings: list[str] = PrivateAttr(default_factory=list)
    _file: Path | None = PrivateAttr(default=None)
    _read: Callable[[], Config] | None = PrivateAttr(default=None)

    def source(self, path: str) -> str:
        """Where `group.key` was set, in words: "default", a file and line, a variable ..."""
        return self._sources.get(path, DEFAULT)

    def warnings(self) -> list[str]:
        """What works but is probably not meant, one sentence each; the node logs them at start."""
        # Imported here because the checks are written on this class.
        from cluster.config.checks import warnings_of

        return [*self._warnings, *warnings_of(self)]

    @property
    def file(self) -> Path | None:
        """The file that it was read from, if any."""
        return self._file

    def read_again(self) -> Config:
        """The same sources as they are now. Raises ConfigError."""
        return self if self._read is None else self._read()

    def remember(self, sources: dict[str, str], warnings: list[str]) -> None:
        """Keep where the values came from; for `load_config` only."""
        self._sources = dict(sources)
        self._warnings = list(warnings)

    def remember_file(self, path: Path, read: Callable[[], Config]) -> None:
        """Keep how it was read; for `load_config` only."""
        self._file = path
        self._read = read


def groups() -> dict[str, type[BaseModel]]:
    """The groups by name, in the order in which people read them."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in Config.model_fields.items():
        assert isinstance(field.annotation, type), f"{name} is not a plain group"
        found[name] = field.annotation
    return found


def keys() -> dict[str, FieldInfo]:
    """Every key by its path `group.key`, in order."""
    return {
        f"{group}.{key}": field
        for group, model in groups().items()
        for key, field in model.model_fields.items()
    }


# Values that no message, table or log may show.
SECRET_PATHS = frozenset({"raft.secret", "auth.api_keys"})


def shown(path: str, value: Any) -> str:
    """A value as people may see it: secrets hidden, long values cut."""
    if path in SECRET_PATHS:
        return "(hidden)"
    text = value if isinstance(value, str) and value.strip() == value != "" else repr(value)
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= 80 else text[:77] + "..."
