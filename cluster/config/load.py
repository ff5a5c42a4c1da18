"""Puts the sources together, validates the whole, and reports every mistake at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from cluster.config.checks import cross_check
from cluster.config.fields import allowed
from cluster.config.groups import ApiKey
from cluster.config.mistakes import ConfigError, Mistake
from cluster.config.model import Config, groups, keys, shown
from cluster.config.sources import (
    ENV_PREFIX,
    Given,
    Layer,
    read_environment,
    read_file,
    read_overrides,
)
from taskq.limits import NAME_PATTERN

API_KEYS = "auth.api_keys"
# The parts of a key that a mistake may show, and the longest text: one that is longer may be a
# key, or its hash, in the wrong place. Characters.
_PARTS_SHOWN = frozenset({"role", "queues", "name"})
_PART_LENGTH_SHOWN = 20


def load_config(path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any]) -> Config:
    """The configuration of a node.

    `path` is a YAML file of groups, or None; `env` the environment, of which TASKQ_GROUP__KEY
    counts; `overrides` maps `group.key` to a value, None meaning not given. The later wins over
    the earlier: default, file, environment, overrides.

    Raises ConfigError with every mistake of all sources.
    """
    if path is None:
        return load_layers(Layer(), env, overrides)
    config = load_layers(read_file(path), env, overrides)
    config.remember_file(path, partial(load_config, path, dict(env), dict(overrides)))
    return config


def load_layers(file: Layer, env: Mapping[str, str], overrides: Mapping[str, Any]) -> Config:
    """As `load_config`, of a file that was read already."""
    layers = [file, read_environment(env), read_overrides(overrides)]
    mistakes = [mistake for layer in layers for mistake in layer.mistakes]
    given: dict[str, Given] = {}
    known = keys()
    for layer in layers:
        for name, entry in layer.values.items():
            if name in known:
                given[name] = entry
            else:
                mistakes.append(_unknown(name, entry))
    config, invalid = _validate(given)
    mistakes += invalid
    wrong = {mistake.path.partition("[")[0] for mistake in mistakes}
    mistakes += [
        _with_origin(mistake, given)
        for mistake in cross_check(config)
        if wrong.isdisjoint(mistake.paths)
    ]
    if mistakes:
        raise ConfigError(mistakes)
    sources = {name: entry.source for name, entry in given.items()}
    config.remember(sources, _near_misses(env))
    return config


def _validate(given: Mapping[str, Given]) -> tuple[Config, list[Mistake]]:
    """A configuration of what is valid by itself (defaults for the rest), and what is not."""
    try:
        return Config.model_validate(_nested(given)), []
    except ValidationError as error:
        mistakes = _mistakes(error, given)
    wrong = {mistake.path.partition("[")[0] for mistake in mistakes}
    rest = {name: entry for name, entry in given.items() if name not in wrong}
    return Config.model_validate(_nested(rest)), mistakes


def _nested(given: Mapping[str, Given]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for name, entry in given.items():
        group, _, key = name.partition(".")
        nested.setdefault(group, {})[key] = entry.value
    return nested


def _mistakes(error: ValidationError, given: Mapping[str, Given]) -> list[Mistake]:
    """One mistake per key, per member of a list, or per part of an API key; the variants of a union
    are one."""
    found: dict[str, Mistake] = {}
    known = keys()
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        group, key, *rest = detail["loc"]
        path = f"{group}.{key}"
        mistake = _mistake(path, rest, given[path], known[path])
        found.setdefault(mistake.path, mistake)
    return list(found.values())


def _mistake(path: str, rest: list[int | str], entry: Given, field: FieldInfo) -> Mistake:
    """`rest`: where in the value of a key it is, outermost first."""
    place, value, source = path, entry.value, entry.source
    if rest and isinstance(rest[0], int):
        place, source = f"{path}[{rest[0]}]", entry.source_of(rest[0])
        value = value[rest[0]] if isinstance(value, list) else value
        if path == API_KEYS and len(rest) > 1 and isinstance(value, dict):
            return _mistake_in_key(place, str(rest[1]), value, source)
    reason = f"allowed is {allowed(field)}"
    if value is None or value == "":
        reason = f"is empty; leave it out to get the default; {reason}"
    return Mistake(place, reason, shown(path, value), source)


def _mistake_in_key(place: str, part: str, key: Mapping[str, Any], source: str) -> Mistake:
    """Of one part of an API key: names the key, and shows what is no secret."""
    field = ApiKey.model_fields.get(part)
    value = key.get(part)
    where = ", ".join(filter(None, (source, _named(key))))
    if field is None:
        # Its value may be the key itself, and a long name, too.
        path = (
            f"{place}.{part}" if len(part) <= _PART_LENGTH_SHOWN and part.isidentifier() else place
        )
        return Mistake(path, f"unknown part; allowed is {_or(ApiKey.model_fields)}", "", where)
    if part not in key:
        return Mistake(f"{place}.{part}", f"is missing; allowed is {allowed(field)}", "", where)
    plain = part in _PARTS_SHOWN and len(repr(value)) <= _PART_LENGTH_SHOWN
    text = shown(f"{place}.{part}", value) if plain else "(hidden)"
    return Mistake(f"{place}.{part}", f"allowed is {allowed(field)}", text, where)


def _named(key: Mapping[str, Any]) -> str:
    name = key.get("name")
    return f"key {name}" if isinstance(name, str) and re.fullmatch(NAME_PATTERN, name) else ""


def _or(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _with_origin(mistake: Mistake, given: Mapping[str, Given]) -> Mistake:
    """A cross check's mistake with value and place of its first key, where it was set."""
    path, of_list, index = mistake.path.partition("[")
    entry = given.get(path)
    if entry is None:
        return mistake
    source = entry.source_of(int(index.rstrip("]"))) if of_list else entry.source
    return Mistake(mistake.path, mistake.reason, shown(path, entry.value), source, mistake.paths)


def _unknown(path: str, entry: Given) -> Mistake:
    group, dot, key = path.partition(".")
    if not dot and group in groups():
        reason = "is a group: its keys belong on lines of their own below it"
        return Mistake(path, reason, shown(path, entry.value), entry.source)
    likely = _likely(path, key)
    hint = f"; did you mean {' or '.join(likely)}?" if likely else ""
    # The value is not shown: a mistyped name may hold a secret.
    what = "unknown group" if group not in groups() else "unknown key"
    return Mistake(path, f"{what}{hint}", source=entry.source)


def _likely(path: str, key: str) -> list[str]:
    """What may have been meant: the same key in another group, else what is written alike."""
    if not key:
        near = difflib.get_close_matches(path.rstrip("."), list(groups()), n=1, cutoff=0.6)
        return near or _of_any_group(path)
    if path.strip("_") in keys():  # TASKQ__BROKER__PORT
        return [path.strip("_")]
    elsewhere = _of_any_group(key)
    return elsewhere or difflib.get_close_matches(path, list(keys()), n=1, cutoff=0.7)


def _of_any_group(key: str) -> list[str]:
    return [name for name in keys() if name.partition(".")[2] == key]


def _near_misses(env: Mapping[str, str]) -> list[str]:
    """Variables that look like ours but for an underscore, and so have no effect."""
    by_name = {f"{ENV_PREFIX}{name.replace('.', '_')}".upper(): name for name in keys()}
    return [
        f"The environment variable {name} has no effect; did you mean"
        f" {ENV_PREFIX}{by_name[name.upper()].replace('.', '__').upper()}?"
        for name, value in sorted(env.items())
        # Kubernetes sets TASKQ_BROKER_PORT=tcp://... for a service called taskq-broker.
        if name.upper() in by_name and not value.startswith(("tcp://", "udp://"))
    ]
