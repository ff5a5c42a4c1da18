"""Every query of Prometheus in the manifests: of alerts, panels and autoscaling. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from deploy.harness.rendering import Objects

# What is no metric: words of the language. Functions are told by what follows them.
_WORDS = {"and", "or", "unless", "on", "ignoring", "by", "without", "group_left", "group_right"}
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
# Not in the middle of a number with a unit.
_SELECTOR = re.compile(r"(?<![\w.])([A-Za-z_:][A-Za-z0-9_:]*)\s*(?:\{([^}]*)\})?")
# What Grafana puts in; a time of one's own in their place.
_VARIABLES = {"$__rate_interval": "1m", "$namespace": "taskq"}


@dataclass(frozen=True)
class Selector:
    """A metric, and the labels whose values are written out."""

    metric: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Query:
    """`where`: in which object, under which name; `text`: as it stands there."""

    where: str
    text: str
    legend: str = ""
    selectors: tuple[Selector, ...] = field(default=(), compare=False)


def queries(objects: Objects) -> list[Query]:
    """All of them, in the order of the manifests."""
    found = [*_alerts(objects), *_panels(objects), *_triggers(objects)]
    return [Query(one.where, one.text, one.legend, tuple(selectors(one.text))) for one in found]


def runnable(text: str, namespace: str) -> str:
    """A panel's query as Prometheus takes it."""
    for name, value in {**_VARIABLES, "$namespace": namespace}.items():
        text = text.replace(name, value)
    return text


def selectors(text: str) -> Iterator[Selector]:
    """The metrics of a query, each with the labels that it wants to be equal to something."""
    bare = re.sub(r"\[[^\]]*\]", "", _LABELS.sub(" ", text))
    for found in _SELECTOR.finditer(bare):
        name, matchers = found[1], found[2] or ""
        if name in _WORDS or bare[found.end(1) :].lstrip().startswith("("):
            continue
        equal = [(label, value) for label, sign, value in _MATCHER.findall(matchers) if sign == "="]
        yield Selector(name, tuple(one for one in equal if "$" not in one[1]))


def _alerts(objects: Objects) -> Iterator[Query]:
    for rule in objects.of("PrometheusRule"):
        for group in rule["spec"]["groups"]:
            for one in group["rules"]:
                yield Query(f"alert {one['alert']}", one["expr"])


def _panels(objects: Objects) -> Iterator[Query]:
    for found in objects.of("ConfigMap"):
        if "grafana_dashboard" not in found["metadata"].get("labels", {}):
            continue
        for text in found["data"].values():
            for panel in json.loads(text)["panels"]:
                for target in panel.get("targets", ()):
                    yield Query(f"panel {panel['title']}", target["expr"], target["legendFormat"])


def _triggers(objects: Objects) -> Iterator[Query]:
    for found in objects.of("ScaledObject"):
        for trigger in found["spec"]["triggers"]:
            yield Query(f"trigger of {found['metadata']['name']}", trigger["metadata"]["query"])
