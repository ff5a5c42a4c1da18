"""examples/web: a real uvicorn, broker and worker, and what HTTP clients see of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

import taskq
from chaos.live.cluster import free_ports
from tests.integration.examples.conftest import Example, Started, until

# The largest prime below 2^63: minutes of work.
LARGE_PRIME = 9223372036854775783


class Site:
    """The application with its broker and worker. `http` talks to it."""

    def __init__(self, example: Example) -> None:
        web_port, self._port = free_ports(2)
        self._example = example
        example.point_to(f"taskq://127.0.0.1:{self._port}")
        served = example.start(example.command("uvicorn").replace("8000", str(web_port)))
        served.printed("Application startup complete")  # without a broker
        self.up = self.start_broker()
        example.start(example.command("taskq worker"))
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{web_port}", timeout=30)

    @property
    def url(self) -> str:
        """Of the broker."""
        return self._example.url

    def start_broker(self) -> Started:
        """On the same port and folder each time."""
        self.up = self._example.up(f"--port {self._port}")
        return self.up

    def submit(self, number: int) -> str:
        """Submits; where the task is to be asked for."""
        answer = self.http.post("/factorings", json={"number": number})
        assert (answer.status_code, answer.json()["state"]) == (202, "submitted")
        assert answer.headers["Location"] == f"/factorings/{answer.json()['id']}"
        return answer.headers["Location"]

    def state(self, path: str) -> str:
        """How a task stands now."""
        state = self.http.get(path).json()["state"]
        assert isinstance(state, str)
        return state


@pytest.fixture(scope="module")
def site(example: Example) -> Iterator[Site]:
    made = Site(example)
    yield made
    made.http.close()


def test_a_number_is_factored(site: Site) -> None:
    path = site.submit(600851475143)
    answer = site.http.get(path, params={"wait": 20})
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    assert answer.json()["factors"] == [71, 839, 1471, 6857]
    deleted = site.http.delete(path)  # what has ended stays as it is
    assert (deleted.status_code, deleted.json()["state"]) == (200, "completed")


def test_what_takes_too_long_is_202_and_can_be_cancelled(site: Site) -> None:
    path = site.submit(LARGE_PRIME)
    until(lambda: site.state(path) == "leased")
    began = time.monotonic()
    answer = site.http.get(path, params={"wait": 0.3})
    assert 0.3 <= time.monotonic() - began < 2
    assert (answer.status_code, answer.json()["state"]) == (202, "leased")
    assert int(answer.headers["Retry-After"]) >= 1
    cancelled = site.http.delete(path)
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "leased")
    began = time.monotonic()
    answer = site.http.get(path, params={"wait": 20})
    # The function looks for it: the process need not be terminated, which happens after 5 s.
    assert time.monotonic() - began < 4
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_what_makes_no_sense_is_refused(site: Site) -> None:
    assert site.http.post("/factorings", json={"number": 1}).status_code == 422
    assert site.http.get("/factorings/12").status_code == 422
    unknown = site.http.get(f"/factorings/{uuid4()}")
    assert unknown.status_code == 404
    assert "NOT_FOUND" in unknown.json()["detail"]


def test_without_a_broker_it_is_503_until_there_is_one(site: Site) -> None:
    path = site.submit(91)
    site.up.stop()
    with ThreadPoolExecutor() as both:
        posted = both.submit(site.http.post, "/factorings", json={"number": 2})
        asked = both.submit(site.http.get, path)
    for answer in (posted.result(), asked.result()):
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) >= 1
    site.start_broker()
    answer = site.http.get(path, params={"wait": 20})
    assert (answer.status_code, answer.json()["factors"]) == (200, [7, 13])


def test_a_submit_without_an_answer_is_504_and_can_be_repeated(site: Site) -> None:
    key = str(uuid4())

    def post(**headers: str) -> httpx.Response:
        return site.http.post("/factorings", json={"number": 143}, headers=headers)

    with taskq.Client(site.url) as client:
        before = client.stats().totals["submitted"]
        (node,) = site.up.nodes()
        node.suspend()
        try:
            silent = post(**{"Idempotency-Key": key})
        finally:
            node.resume()
        assert silent.status_code == 504
        assert f"Idempotency-Key: {key}" in silent.json()["detail"]
        answers = [post(**{"Idempotency-Key": key}) for _ in range(2)]
        assert [(one.status_code, one.json()["id"]) for one in answers] == [(202, key)] * 2
        found = site.http.get(f"/factorings/{key}", params={"wait": 20})
        assert found.json()["factors"] == [11, 13]
        assert client.stats().totals["submitted"] == before + 1
