"""A client written from docs/protocol.md alone: no import from the project, msgpack and struct.

It reads the tables of the page as a person would, so that what the page lacks, it lacks.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Any

import msgpack


@dataclass
class Table:
    """A message or record of the page: its type and the rows of its first table."""

    code: int | None = None
    reply_code: int | None = None
    reply: str = ""
    member: str = ""
    fields: list[tuple[str, str, str]] = field(default_factory=list)  # name, allowed, default


def read_tables(page: str) -> dict[str, Table]:
    """Every chapter of the page by its title, with its table of fields if it has one."""
    tables: dict[str, Table] = {}
    for chapter in re.split(r"^#{2,3} ", page, flags=re.MULTILINE)[1:]:
        name, _, body = chapter.partition("\n")
        assert name not in tables, f"two chapters {name}"
        table = tables[name] = Table()
        if found := re.search(r"^Type 0x(\w\w)", body, re.MULTILINE):
            table.code = int(found[1], 16)
        if found := re.search(r"^Reply: type 0x(\w\w), \[(\w+)\]", body, re.MULTILINE):
            table.reply_code, table.reply = int(found[1], 16), found[2]
        if found := re.search(r"each good answer being \[(\w+)\]", body):
            table.member = found[1]
        for line in body.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == 5 and cells[0].isdigit():
                assert int(cells[0]) == len(table.fields)
                table.fields.append((cells[1].strip("`"), cells[2], cells[3].strip("`")))
    return tables


def value_for(allowed: str, tables: dict[str, Table]) -> Any:
    """Some legal value, from the words of the column "allowed"."""
    if allowed.startswith("nil or "):
        return value_for(allowed.removeprefix("nil or "), tables)
    if found := re.fullmatch(r"int (-?\d+)\.\.(\d+)", allowed):
        return int(found[2])
    if allowed == "bool":
        return True
    if allowed.startswith("str matching"):
        return "queue-1"
    if found := re.fullmatch(r"str of (\d+)\.\.(\d+) characters", allowed):
        return "é" * min(int(found[2]), 3)
    if found := re.fullmatch(r"bin of (?:\d+\.\.)?(\d+) bytes", allowed):
        return b"\x07" * min(int(found[1]), 16)
    if found := re.fullmatch(r"array of (\d+)\.\.(\d+): (.*)", allowed):
        return [value_for(found[3], tables)] * max(int(found[1]), 1)
    if found := re.fullmatch(r"map of at most \d+: (.*) -> (.*)", allowed):
        return {value_for(found[1], tables): value_for(found[2], tables)}
    if found := re.fullmatch(r"`(\w+)` as an array", allowed):
        return [value_for(each, tables) for _, each, _ in tables[found[1]].fields]
    if allowed == "array `[true, reply]` or `[false, refusal]`":
        return [False, ["NOT_FOUND", "no such task", 0, False]]
    raise AssertionError(f"the page does not say what {allowed!r} is")


class PageClient:
    """Frames out, answers in; knows the page's chapters on frames, payloads and sessions."""

    def __init__(self, tables: dict[str, Table]) -> None:
        self.tables = tables
        self.received = b""
        self.request_id = 0

    def request(self, name: str, fields: list[Any], deadline_ms: int = 0) -> bytes:
        self.request_id += 1
        code = self.tables[name].code
        assert code is not None
        payload = msgpack.packb([1, self.request_id, deadline_ms, fields])
        return struct.pack(">IB", len(payload) + 1, code) + payload

    def answers(self, data: bytes) -> list[tuple[str, int, Any]]:
        """(reply, request id, fields by name), ("refusal", ...) or (push, 0, ...)."""
        self.received += data
        events = []
        while len(self.received) >= 5:
            length, code = struct.unpack_from(">IB", self.received)
            if len(self.received) < 4 + length:
                break
            payload = msgpack.unpackb(self.received[5 : 4 + length])
            self.received = self.received[4 + length :]
            assert payload[0] == 1
            events.append(self._event(code, payload))
        return events

    def _event(self, code: int, payload: list[Any]) -> tuple[str, int, Any]:
        if code == 0xFF:
            return "refusal", payload[1], self._named("Refusal", payload[2])
        if code & 0x80:
            reply = next(each.reply for each in self.tables.values() if each.reply_code == code)
            return reply, payload[1], self._named(reply, payload[2])
        push = next(name for name, each in self.tables.items() if each.code == code)
        return push, 0, self._named(push, payload[1])

    def _named(self, name: str, values: list[Any]) -> dict[str, Any]:
        return {field: value for (field, _, _), value in zip(self.tables[name].fields, values)}  # noqa: B905
