"""Reads what was set, each value with its place: a YAML file, the environment, the command line.

Knows the shape of a configuration (groups of keys), not the keys. Pure but for `read_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cluster.config.mistakes import Mistake

ENV_PREFIX = "TASKQ_"
FILE_SIZE_MAX = 1024 * 1024
_MAPPING = "tag:yaml.org,2002:map"
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it was set, in words; `places` are those of the members of a list, where
    they are known."""

    value: Any
    source: str
    places: tuple[str, ...] = ()

    def source_of(self, index: int) -> str:
        """Where that member of the list was set."""
        return self.places[index] if index < len(self.places) else self.source


@dataclass(slots=True)
class Layer:
    """What one source sets, by path (`group.key`), and what could not be read."""

    values: dict[str, Given] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def read_file(path: Path) -> Layer:
    """The layer of a configuration file; a file that cannot be read is its mistake."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_SIZE_MAX + 1)
        if len(raw) > FILE_SIZE_MAX:
            return _unreadable(path, "is larger than 1 MiB; is it the right file?")
        return parse_yaml(raw.decode("utf-8"), str(path))
    except OSError as error:
        return _unreadable(path, f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return _unreadable(path, f"is not UTF-8 text (byte {error.start})")


def _unreadable(path: Path, reason: str) -> Layer:
    return Layer(mistakes=[Mistake(f"file {path}", reason)])


def parse_yaml(content: str, name: str) -> Layer:
    """The layer of a YAML text: groups of keys, each value with its line."""
    layer = Layer()
    try:
        loader = yaml.SafeLoader(content)
        root = loader.get_single_node()
        if root is not None and not _is_empty(root):
            _read_groups(loader, root, name, layer)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        layer.mistakes.append(Mistake(f"file {name}{line}", f"is not valid YAML: {problem}"))
    except (ValueError, RecursionError) as error:
        # SafeLoader builds dates and numbers with Python's own types, which raise these.
        layer.mistakes.append(Mistake(f"file {name}", f"holds a value that is none: {error}"))
    return layer


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _read_groups(loader: yaml.SafeLoader, root: yaml.Node, name: str, layer: Layer) -> None:
    if not isinstance(root, yaml.MappingNode) or root.tag != _MAPPING:
        layer.mistakes.append(Mistake(f"file {name}", "must hold groups of keys, such as broker:"))
        return
    for group, group_node in _pairs(root, "", name, layer):
        if _is_empty(group_node):
            continue
        # One with a tag of its own, such as !!python/object, is refused by construct_object.
        if not isinstance(group_node, yaml.MappingNode) or group_node.tag != _MAPPING:
            source = _place(name, group_node)
            # An unknown group is reported with its suggestion; a known one as not being a group.
            layer.values[group] = Given(loader.construct_object(group_node, deep=True), source)
            continue
        for key, node in _pairs(group_node, f"{group}.", name, layer):
            value = loader.construct_object(node, deep=True)
            members = node.value if isinstance(node, yaml.SequenceNode) else ()
            places = tuple(_place(name, member) for member in members)
            layer.values[f"{group}.{key}"] = Given(value, _place(name, node), places)


def _pairs(
    node: yaml.MappingNode, prefix: str, name: str, layer: Layer
) -> list[tuple[str, yaml.Node]]:
    """The entries of a mapping; a key that is no text or comes twice is a mistake."""
    found: dict[str, yaml.Node] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            mistake = Mistake(prefix.rstrip(".") or "file", "has a key that is not a word")
            layer.mistakes.append(mistake)
        elif key_node.value in found:
            path, source = f"{prefix}{key_node.value}", _place(name, key_node)
            first = found[key_node.value].start_mark.line + 1
            layer.mistakes.append(Mistake(path, f"set before in line {first}", source=source))
        else:
            found[key_node.value] = value_node
    return list(found.items())


def _place(name: str, node: yaml.Node) -> str:
    return f"{name} line {node.start_mark.line + 1}"


def read_environment(env: Mapping[str, str]) -> Layer:
    """The layer of variables such as TASKQ_BROKER__PORT, in capitals or not.

    Only names with two underscores are ours: Kubernetes itself sets TASKQ_BROKER_PORT and the like
    for a service called taskq-broker, and TASKQ_URL belongs to clients.
    """
    layer = Layer()
    for name in sorted(env):
        rest = name.upper().removeprefix(ENV_PREFIX)
        if rest == name.upper() or ("__" not in rest and not rest.startswith("_")):
            continue
        # TASKQ__BROKER__PORT is taken for what was meant, and refused as an unknown group.
        group, _, key = rest.partition("__")
        path, source = f"{group}.{key}".lower(), f"environment variable {name}"
        if path in layer.values:
            reason = f"also set by {layer.values[path].source}"
            layer.mistakes.append(Mistake(path, reason, source=source))
        else:
            layer.values[path] = Given(_structured(env[name]), source)
    return layer


def _structured(text: str) -> Any:
    """Lists of keys and peers are written as in YAML (or JSON); everything else is plain text."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def read_overrides(overrides: Mapping[str, Any]) -> Layer:
    """The layer of the command line: paths to values; None stands for an option not given."""
    return Layer(
        {
            path: Given(_structured(value) if isinstance(value, str) else value, "command line")
            for path, value in overrides.items()
            if value is not None
        }
    )
