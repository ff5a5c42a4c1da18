"""Cursors of limited keys tell nothing of tasks of other queues, and hold on every node."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.server.access import Access
from cluster.server.cursors import Cursors
from taskq import commands
from taskq.errors import Refusal
from taskq.limits import LIST_SCAN_MAX
from tests.unit.server.rig import claim, submit, task_id
from tests.unit.server.test_scope import Alone, Behind, key_of

KEYS = [key_of("admin", "root"), key_of("admin", "mail", "mail.*")]
COUNT = LIST_SCAN_MAX + 500
OURS = task_id(1 << 100)  # behind all of theirs


def filled(place: Any) -> Any:
    """Two thousand and more tasks of theirs, then one of ours; the limited peer."""
    root = place.peer("root")
    for start in range(1, COUNT, 500):
        tasks: list[Any] = [[task_id(number), "sms"] for number in range(start, start + 500)]
        place.ask(root, commands.SubmitTasks(tasks))
    place.ask(root, commands.SubmitTask(OURS, "mail.x"))
    return place.peer("mail")


@pytest.mark.parametrize("node", [Alone, Behind])
def test_a_page_that_ends_at_a_task_of_theirs_does_not_tell_its_id(node: Any) -> None:
    place = node(Access(enabled=True, keys=KEYS))
    peer = filled(place)
    page = place.ask(peer, commands.ListTasks())
    assert page.tasks == []
    assert task_id(LIST_SCAN_MAX) not in page.after
    assert page.after[-8:] != task_id(LIST_SCAN_MAX)[-8:]
    page = place.ask(peer, commands.ListTasks(after=page.after))
    assert [task.task_id for task in page.tasks] == [OURS]
    assert page.after is None


def test_the_next_leader_goes_on_where_the_last_one_ended() -> None:
    place = Behind(Access(enabled=True, keys=KEYS))
    # Each has read its own file.
    for rig, keys in zip(place.group.rigs.values(), (KEYS, KEYS[::-1], KEYS), strict=True):
        rig.server.replace_keys(keys)
    peer = filled(place)
    page = place.ask(peer, commands.ListTasks())
    place.group.elect("n2")
    place.group.settle()
    page = place.ask(peer, commands.ListTasks(after=page.after))
    assert [task.task_id for task in page.tasks] == [OURS]


def test_a_limited_key_cannot_start_where_it_likes() -> None:
    place = Alone(Access(enabled=True, keys=KEYS))
    peer = filled(place)
    for after in (b"", b"x", task_id(5), OURS, bytes(32), Cursors(["another"]).seal(task_id(5))):
        for command in (commands.ListTasks(after=after), commands.ListDead(after=after)):
            refusal = place.ask(peer, command)
            assert isinstance(refusal, Refusal)
            assert refusal.code == "INVALID_REQUEST"
    assert len(place.ask(place.peer("root"), commands.ListTasks(after=task_id(5))).tasks) == 100


def test_dead_letters_go_on_as_well() -> None:
    place = Alone(Access(enabled=True, keys=KEYS))
    root, peer = place.peer("root"), place.peer("mail")
    for number in range(1, 8):
        place.ask(root, submit(number, "mail.x" if number % 2 else "sms", max_retries=0))
        queue = "mail.x" if number % 2 else "sms"
        (task,) = place.ask(root, claim(number, queue, wait_ms=0)).tasks
        place.ask(root, commands.TaskResult(task.task_id, task.token, ok=False))
    found, after = [], None
    while True:
        page = place.ask(peer, commands.ListDead(after=after, limit=1))
        found += [task.task_id for task in page.tasks]
        if (after := page.after) is None:
            break
    assert found == [task_id(number) for number in range(1, 8, 2)]


def test_a_cursor_is_sealed() -> None:
    cursors = Cursors(["a", "b"])
    again, other = Cursors(["b", "a"]), Cursors(["a"])
    for place in (b"", bytes(16), bytes(range(24))):
        cursor = cursors.seal(place)
        assert cursor == again.seal(place)
        assert again.open(cursor) == place
        assert other.open(cursor) is None
        for position in range(len(cursor)):
            changed = bytearray(cursor)
            changed[position] ^= 1
            assert cursors.open(bytes(changed)) is None
        assert cursors.open(cursor[:-1]) is None
        assert cursors.open(cursor + b"\0") is None
    other.renew(["a", "b"])
    assert other.open(cursors.seal(b"place")) == b"place"
