"""P8: cluster time and the log's wall time, whatever the machine's clocks do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.clock import ROUND_MAX_MS, ClusterClock

START = 1_000_000.0


class Machine:
    """The clocks of a machine, in seconds."""

    def __init__(self) -> None:
        self.up = 50.0
        self.wall = START

    def clock(self) -> ClusterClock:
        return ClusterClock(lambda: self.up, lambda: self.wall)

    def passes(self, secs: float) -> None:
        self.up += secs
        self.wall += secs


def led(machine: Machine, elapsed_ms: int = 0, wall_ms: int = 0) -> ClusterClock:
    clock = machine.clock()
    clock.lead(elapsed_ms, wall_ms)
    clock.goes_on(elapsed_ms, wall_ms)
    return clock


def test_cluster_time_follows_the_monotonic_clock() -> None:
    machine = Machine()
    clock = led(machine, 7_000)
    for _ in range(1_000):
        machine.passes(0.0333)
        clock.advance()
    assert abs(clock.elapsed_ms - (7_000 + 33_300)) <= 1


def test_a_suspended_machine_counts_half_a_second() -> None:
    machine = Machine()
    clock = led(machine)
    machine.passes(3600)
    clock.advance()
    assert clock.elapsed_ms == ROUND_MAX_MS
    assert clock.wall_ms == int(machine.wall * 1000), "the wall time moves forward at once"


def test_a_new_leader_goes_on_from_the_log_and_forgets_what_it_counted() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(10):
        machine.passes(0.25)
        clock.advance()
    clock.lead(1_000, 0)
    clock.goes_on(1_000, 0)
    assert clock.elapsed_ms == 1_000
    clock.advance()
    assert clock.elapsed_ms == 1_000
    assert clock.wall_ms == int(machine.wall * 1000)


def test_a_wall_clock_set_back_an_hour_stands_still() -> None:
    machine = Machine()
    clock = led(machine)
    before = clock.wall_ms
    machine.wall -= 3600
    for _ in range(4 * 3600 - 1):
        machine.passes(0.25)
        clock.advance()
        assert clock.wall_ms == before
    assert clock.elapsed_ms == (4 * 3600 - 1) * 250, "cluster time does not care"
    for _ in range(8):
        machine.passes(0.25)
        clock.advance()
    assert 0 < clock.wall_ms - before <= 2_000


def test_a_log_ahead_of_the_own_clock_stands_still() -> None:
    machine = Machine()
    ahead = int(START * 1000) + 60_000
    clock = led(machine, 0, ahead)
    for _ in range(4 * 59):
        machine.passes(0.25)
        clock.advance()
    assert clock.wall_ms == ahead


def test_a_wall_clock_set_forward_is_approached_by_a_tenth() -> None:
    machine = Machine()
    clock = led(machine)
    machine.wall += 3600
    before = clock.wall_ms
    for _ in range(40):
        machine.passes(0.25)
        clock.advance()
    assert clock.wall_ms - before == 11_000


def test_a_small_difference_ends_and_does_not_overshoot() -> None:
    machine = Machine()
    clock = led(machine)
    machine.wall += 0.1
    for _ in range(100):
        machine.passes(0.25)
        clock.advance()
        assert clock.wall_ms <= machine.wall * 1000
    assert clock.wall_ms == int(machine.wall * 1000)


JUMP = st.floats(-1e5, 1e5) | st.floats(-1, 1) | st.just(0.0)


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 2), JUMP, st.sampled_from(["advance", "advance", "lead"])),
        max_size=60,
    ),
    wall_ms=st.integers(0, int(START * 2000)),
)
def test_neither_time_goes_back_and_none_runs_ahead(
    steps: list[tuple[float, float, str]], wall_ms: int
) -> None:
    machine = Machine()
    clock = led(machine, 5, wall_ms)
    for passed, jump, what in steps:
        elapsed, wall = clock.elapsed_ms, clock.wall_ms
        machine.passes(passed)
        machine.wall += jump
        if what == "lead":
            clock.lead(elapsed, wall)
            clock.goes_on(elapsed, wall)
            assert clock.elapsed_ms == elapsed
        else:
            clock.advance()
            counted = min(passed * 1000, ROUND_MAX_MS)
            assert elapsed <= clock.elapsed_ms <= elapsed + counted + 1
            if passed * 1000 <= ROUND_MAX_MS:
                assert clock.wall_ms <= wall + counted * 1.1 + 1, "slewed by more than a tenth"
        assert clock.wall_ms >= wall
        assert clock.wall_ms <= max(wall, machine.wall * 1000), "past the own clock"


@given(steps=st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_even_a_broken_monotonic_clock_cannot_move_time_back(steps: list[float]) -> None:
    machine = Machine()
    clock = led(machine, 5)
    for step in steps:
        elapsed, wall = clock.elapsed_ms, clock.wall_ms
        machine.up += step
        clock.advance()
        assert elapsed <= clock.elapsed_ms <= elapsed + ROUND_MAX_MS
        assert clock.wall_ms >= wall
