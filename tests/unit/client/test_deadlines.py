from __future__ import annotations

from concurrent.futures import Future

from taskq.client.call import Call
from taskq.client.deadlines import ENDED_CALLS_MAX, Deadlines
from taskq.commands import Ping


class Timer:
    def __init__(self, when, act) -> None:
        self._when, self.act, self.cancelled = when, act, False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when, act) -> Timer:
        self.timers.append(Timer(when, act))
        return self.timers[-1]

    @property
    def armed(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def turn(self, now: float) -> None:
        self.now = now
        for timer in self.armed:
            if timer.when() <= now:
                timer.cancelled = True
                timer.act()


def setting():
    loop, expired = Loop(), []
    deadlines = Deadlines(loop, lambda call, timeout: expired.append((call, timeout)))
    return loop, deadlines, expired


def call(deadline: float) -> Call:
    return Call(Ping(), deadline, Future())


def test_calls_expire_in_the_order_of_their_deadlines():
    loop, deadlines, expired = setting()
    late, soon = call(9.0), call(3.0)
    deadlines.add(late, 9.0)
    deadlines.add(soon, 3.0)
    assert [timer.when() for timer in loop.armed] == [3.0]
    loop.turn(2.9)
    assert expired == []
    loop.turn(3.0)
    assert expired == [(soon, 3.0)]
    loop.turn(20.0)
    assert expired == [(soon, 3.0), (late, 9.0)]
    assert loop.armed == []


def test_an_ended_call_does_not_expire():
    loop, deadlines, expired = setting()
    ended, other = call(3.0), call(4.0)
    deadlines.add(ended, 3.0)
    deadlines.add(other, 4.0)
    ended.future.set_result(None)
    loop.turn(3.5)
    assert expired == []
    assert [timer.when() for timer in loop.armed] == [4.0]


def test_an_earlier_deadline_added_later_counts():
    loop, deadlines, expired = setting()
    moved = call(100.0)
    deadlines.add(moved, 100.0)
    moved.deadline = 5.0
    deadlines.add(moved, 100.0)
    loop.turn(5.0)
    assert expired == [(moved, 100.0)]
    moved.future.set_result(None)
    loop.turn(100.0)
    assert len(expired) == 1


def test_ended_calls_are_not_kept_until_their_deadlines():
    _, deadlines, _ = setting()
    alive = [call(30.0) for _ in range(100)]
    for living in alive:
        deadlines.add(living, 30.0)
    for _ in range(20 * ENDED_CALLS_MAX):
        ended = call(30.0)
        deadlines.add(ended, 30.0)
        ended.future.set_result(None)
    assert len(deadlines._heap) <= 2 * len(alive) + ENDED_CALLS_MAX + 1
    assert {id(entry[2]) for entry in deadlines._heap} >= {id(living) for living in alive}


def test_one_timer_however_many_calls():
    loop, deadlines, _ = setting()
    for number in range(1_000):
        deadlines.add(call(30.0 + number), 30.0)
    assert len(loop.timers) == 1


def test_clear_forgets_all():
    loop, deadlines, expired = setting()
    deadlines.add(call(1.0), 1.0)
    deadlines.clear()
    loop.turn(5.0)
    assert (expired, loop.armed) == ([], [])
