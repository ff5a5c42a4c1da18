"""A Prometheus server of this machine that asks nodes every second, and answers queries."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from chaos.live.node import free_port

START_SECS = 20.0
ANSWER_SECS = 10.0
# What the Prometheus operator makes of the ServiceMonitor.
JOB = "taskq-peers"


class Prometheus:
    """Asks `targets` ("host:port" by pod) as if they were pods of `namespace`; its data are in
    `home`. Runs while its block lasts. Raises FileNotFoundError where there is no such program."""

    def __init__(self, home: Path, targets: Mapping[str, str], namespace: str) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise FileNotFoundError("there is no prometheus (Debian: prometheus)")
        self._url = f"http://127.0.0.1:{free_port()}"
        home.mkdir(parents=True)
        settings = home / "prometheus.yaml"
        settings.write_text(yaml.safe_dump(_settings(targets, namespace)))
        self._command = [
            *(program, f"--config.file={settings}", f"--storage.tsdb.path={home / 'data'}"),
            f"--web.listen-address={self._url.removeprefix('http://')}",
        ]
        self._log = home / "log"

    def __enter__(self) -> Prometheus:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECS
        while True:
            try:
                urlopen(f"{self._url}/-/ready", timeout=1.0).close()
            except (URLError, TimeoutError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.__exit__()
                    raise OSError(f"prometheus does not start: {self._log.read_text()}") from None
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series that a query has now: `metric` (its labels) and `value` (time, text)."""
        url = f"{self._url}/api/v1/query?{urlencode({'query': query})}"
        with urlopen(url, timeout=ANSWER_SECS) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def _settings(targets: Mapping[str, str], namespace: str) -> dict[str, Any]:
    static = [
        {"targets": [address], "labels": {"namespace": namespace, "pod": pod}}
        for pod, address in targets.items()
    ]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": JOB, "static_configs": static}],
    }
