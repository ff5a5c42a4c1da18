"""When certificates end, read at the time of the scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric


class Port(Protocol):
    """What shows certificates (`cluster.certificates`)."""

    def expiries(self) -> Mapping[str, datetime]:
        """Setting -> when what is in force ends."""


class CertificateMetrics:
    """A collector."""

    def __init__(self, ports: Sequence[Port]) -> None:
        self._ports = ports

    def collect(self) -> Iterator[Metric]:
        """One family, with a sample for each file."""
        about = "When the certificate of a setting ends, in seconds since 1970."
        family = GaugeMetricFamily("tq_certificate_expiry_seconds", about, labels=["setting"])
        for port in self._ports:
            for setting, end in port.expiries().items():
                family.add_metric([setting], end.timestamp())
        yield family
