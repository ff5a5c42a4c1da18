"""The line of /proc/<pid>/stat."""

from taskq.worker.usage import parse_stat


def test_name_of_a_process_may_hold_anything() -> None:
    line = "12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 19 20 4096 22 23"
    assert parse_stat(line) == (300, 4096)
