"""Logs: one JSON object per line, or text; levels; the standard library's loggers, too."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from cluster.config.groups import Monitoring
from cluster.logging import set_up_logging


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_level_time_node_and_fields() -> None:
    stream = io.StringIO()
    set_up_logging(Monitoring(), stream, node_id="node1")
    structlog.get_logger("cluster.server").info("connection closed", peer="h:1", payload=b"\xff")
    (line,) = lines(stream)
    assert line["message"] == "connection closed"
    assert line["level"] == "info"
    assert line["logger"] == "cluster.server"
    assert line["node"] == "node1"
    assert line["peer"] == "h:1"
    assert str(line["timestamp"]).endswith("Z")


def test_hostile_text_stays_on_one_line() -> None:
    stream = io.StringIO()
    set_up_logging(Monitoring(), stream)
    structlog.get_logger().warning("bad name", name='a\n{"level": "error"}')
    assert [line["level"] for line in lines(stream)] == ["warning"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_level(level: str, expected: int) -> None:
    stream = io.StringIO()
    set_up_logging(Monitoring.model_validate({"log_level": level}), stream)
    log = structlog.get_logger()
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    assert len(lines(stream)) == expected


def test_standard_loggers_come_out_alike_with_their_traceback() -> None:
    stream = io.StringIO()
    set_up_logging(Monitoring(), stream, node_id="node1")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("asyncio").exception("loop %s", "failed")
    (line,) = lines(stream)
    assert line["message"] == "loop failed"
    assert line["logger"] == "asyncio"
    assert line["node"] == "node1"
    assert "ValueError: broken" in str(line["exception"])


def test_text_for_people_and_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    log = structlog.get_logger()
    set_up_logging(Monitoring(), first)
    log.info("one")
    set_up_logging(Monitoring(json_logging=False), second)
    log.info("two", queue="mail")
    assert len(first.getvalue().splitlines()) == 1
    assert "two" in second.getvalue()
    assert "queue=mail" in second.getvalue()
    assert not second.getvalue().startswith("{")


@pytest.mark.parametrize("terminal", [False, True])
def test_text_for_people_does_not_steer_their_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    set_up_logging(Monitoring(json_logging=False), stream)
    evil, seen = "\x1b[2J\x9b2J\x7f", r"\x1b[2J\x9b2J\x7f"
    log = structlog.get_logger()
    log.info(f"event{evil}", name=f"field{evil}", inside=[evil])
    try:
        raise ValueError(evil)
    except ValueError:
        log.exception("broken")
    logging.getLogger("asyncio").warning("record %s", evil)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert text.count(seen) >= 4
    assert "Traceback (most recent call last)" in text.splitlines()[2]
