"""`taskq top`: rates between looks, the picture at several sizes, and what it does in trouble."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from rich.console import Console, Group
from rich.text import Text

from taskq.cli.cluster import verdict
from taskq.cli.graph import bar, curve, short
from taskq.cli.top_frame import Picture, frame
from taskq.cli.top_look import Look, Rates, take_look
from taskq.commands import GetCluster, GetStats, ListQueues, ListWorkers
from taskq.errors import ConnectionFailed
from taskq.results import MemberRole, MemberView, QueuePage, QueueView, WorkerPage, WorkerView
from tests.unit.cli.busy_cluster import cluster, look, member, queue, stats

LOST = cluster("", member(1, MemberRole.UNREACHABLE, None), member(2, MemberRole.CANDIDATE))


def picture(seen: Look, *earlier: Look) -> Picture:
    rates = Rates()
    for one in (*earlier, seen):
        rates.add(one)
    return Picture(seen, rates, "22:31:05", "2 s")


def shown(seen: Look, width: int = 80, height: int = 24, *earlier: Look) -> list[str]:
    return [line.plain for line in frame(picture(seen, *earlier), width, height)]


# --- rates ----------------------------------------------------------------------------------------


def test_rates_are_counts_between_looks_by_the_time_between_them() -> None:
    rates = Rates()
    rates.add(look(10.0))
    assert rates.now == {}
    rates.add(look(12.0))
    assert rates.now["submitted"] == rates.now["completed"] == 2_500
    assert rates.now["failed"] == 0


def test_lost_leases_are_those_of_dead_workers_as_well() -> None:
    rates = Rates()
    rates.add(look(0.0, stats=stats(lease_expiries=2, worker_deaths=1)))
    rates.add(look(4.0, stats=stats(lease_expiries=4, worker_deaths=7)))
    assert rates.now["leases_lost"] == 2


def test_a_look_without_counts_leaves_a_mean_over_the_gap() -> None:
    rates = Rates()
    rates.add(look(0.0))
    rates.add(Look(2.0, trouble="nobody there"))
    rates.add(look(4.0))
    assert rates.now["submitted"] == 2_500
    assert list(rates.curves["submitted"]) == [2_500]


def test_an_answer_older_than_the_last_one_is_no_negative_rate() -> None:
    rates = Rates()
    rates.add(look(2.0))
    rates.add(look(4.0, stats=stats(0.0)))
    assert rates.now["submitted"] == 0


# --- small pictures -------------------------------------------------------------------------------


def test_curve() -> None:
    assert curve([0, 1, 4, 8], 8) == " ▁▄█"
    assert curve([9, 8, 4], 2) == "█▄"
    assert curve([0.001, 1000], 2) == "▁█"
    assert curve([0, 0], 8) == curve([], 8) == ""


def test_bar() -> None:
    assert [bar(share).rstrip() for share in (0, 0.0001, 0.25, 1, 7)] == [
        "",
        "▏",
        "██▌",
        "█" * 10,
        "█" * 10,
    ]


def test_numbers_never_need_more_than_six_columns() -> None:
    counts = [0, 99_999, 100_000, 999_999, 1_234_567, 99_950_000, 123_456_789, 10**12, 10**17]
    texts = [short(count) for count in counts]
    assert texts[:5] == ["0", "99,999", "100k", "999k", "1.2M"]
    assert max(map(len, texts)) <= 6


# --- the picture ----------------------------------------------------------------------------------


def test_it_fills_80_by_24_and_says_what_matters() -> None:
    lines = shown(look(2.0), 80, 24, look(0.0))
    assert len(lines) == 24
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("taskq top  cluster c0ffee12  leader node2  term 7")
    assert lines[0].endswith("every 2 s  22:31:05")
    assert lines[1] == "All 3 members serve; the cluster goes on without any one of them."
    text = "\n".join(lines)
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert rows["ready"][:5] == ["ready", "104,230", "submitted", "2,500", "/s"]
    assert rows["dead"][:5] == ["dead", "3", "leases", "lost", "0"]
    assert rows["node2"] == ["node2", "leader", "48,201,377", "0", "31.0", "GiB", "64.0", "MiB"]
    assert rows["mails"] == ["mails", "█" * 10, "12", "84,000", "0", "0", "30", "0"]
    assert rows["batch-3"][2:] == ["18", "32", "72", "%", "210.0", "MiB", "3", "s"]
    assert text.index("mails") < text.index("thumbnails") < text.index("reports.monthly")
    assert "and 3 more" in text


@pytest.mark.parametrize("width", [20, 60, 79, 80, 133, 250])
@pytest.mark.parametrize("height", [3, 10, 24, 25, 60])
def test_no_line_is_too_wide_and_none_too_many(width: int, height: int) -> None:
    for seen in (look(), look(status=LOST), look(queues=[], workers=[]), Look(0.0, trouble="x")):
        lines = frame(picture(seen), width, height)
        assert len(lines) <= height
        assert max(line.cell_len for line in lines) <= max(width, 60)


def test_a_terminal_that_is_too_narrow_cuts_lines_and_does_not_wrap_them() -> None:
    screen = Console(width=40, file=io.StringIO())
    with screen.capture() as drawn:
        screen.print(Group(*frame(picture(look()), 40, 24)))
    assert len(drawn.get().splitlines()) == 24


def test_there_is_room_for_all_on_a_tall_terminal() -> None:
    text = "\n".join(shown(look(), 120, 40))
    for name in ("audit", "billing", "paused imports:[eu]", "web-2-4711", "f" * 32):
        assert name in text
    assert "more" not in text


def test_many_queues_leave_a_row_for_a_worker() -> None:
    many = [queue(f"q{number:05}", ready_normal=number) for number in range(10_000)]
    lines = shown(look(queues=many))
    assert len(lines) == 24
    assert "and 9,997 more" in "\n".join(lines)
    assert any(line.split()[:1] == ["batch-3"] for line in lines)


def test_without_a_leader_it_says_so_in_full() -> None:
    lines = shown(look(status=LOST))
    assert "leader none" in lines[0]
    told = " ".join(lines[1:4]).split("  ")[0]
    assert told.rstrip() == verdict(LOST, [MemberView(*one) for one in LOST.members])
    assert told.startswith("NOBODY LEADS: requests wait. 1 of 2 members can be counted on; 2 must")
    assert any(line.split() == ["node1", "unreachable", "1", "min"] for line in lines)


def test_before_the_second_look_there_are_no_rates() -> None:
    (line,) = [line for line in shown(look()) if "submitted" in line]
    assert line.split()[-2:] == ["-", "/s"]


def test_a_curve_begins_with_its_second_block() -> None:
    earlier = [look(2.0 * number) for number in range(3)]
    for count, blocks in ((1, ""), (2, "██"), (3, "███")):
        lines = shown(look(2.0 * count), 80, 24, *earlier[:count])
        (line,) = [line for line in lines if "submitted" in line]
        assert line.partition("/s")[2].strip() == blocks


def test_names_are_text_and_not_markup() -> None:
    lines = frame(picture(look()), 120, 40)
    assert all(isinstance(line, Text) for line in lines)
    assert any("imports:[eu]" in line.plain for line in lines)


# --- looking --------------------------------------------------------------------------------------


def serve(fake: Any, leader: str = "node2") -> list[Any]:
    """A client that answers each question; the questions."""
    asked: list[Any] = []

    def call(command: Any, timeout: float | None = None) -> Any:
        asked.append(command)
        match command:
            case GetCluster():
                return cluster(leader)
            case GetStats():
                return stats(2.0 * len(asked))
            case ListQueues(after=None):
                view = QueueView("a", False, 0, 30_000, 1, 2, 3, 4, 5, 6, 7)
                return QueuePage([view], b"a")
            case ListQueues(after=b"a"):
                return QueuePage([QueueView("b", False, 0, 30_000, 0, 0, 0, 0, 0, 0, 0)], None)
            case ListWorkers():
                return WorkerPage([WorkerView(b"w" * 16, "w1", 4, 10, 2, 500, 1, 0)], None)
        raise AssertionError(command)

    fake.answers["call"] = call
    return asked


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def test_a_look_reads_every_page(fake: Any) -> None:
    serve(fake)
    seen = take_look(fake(None, 5.0, ""), 1.0)
    assert [one.name for one in seen.queues] == ["a", "b"]
    assert [one.name for one in seen.workers] == ["w1"]
    assert (seen.at, seen.trouble) == (1.0, "")


@pytest.mark.parametrize(("leader", "stale"), [("node2", False), ("", True)])
def test_stale_answers_are_taken_while_nobody_leads(fake: Any, leader: str, stale: bool) -> None:
    asked = serve(fake, leader)
    take_look(fake(None, 5.0, ""), 1.0)
    assert [command.stale for command in asked[1:]] == [stale] * 4


def test_once_prints_one_picture_after_two_looks(fake: Any, taskq: Any, naps: list[float]) -> None:
    serve(fake)
    outcome = taskq("top", "--once", "--interval", "3s")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.count("taskq top") == 1
    assert len(naps) == 1
    assert 2 < naps[0] <= 3
    assert "-" not in outcome.stdout.partition("submitted")[2].split("/s")[0]


def test_document(fake: Any, taskq: Any, naps: list[float]) -> None:
    serve(fake)
    document = json.loads(taskq("top", "--json").stdout)
    assert set(document) == {"cluster", "stats", "rates", "trouble"}
    assert document["cluster"]["leader"] == "node2"
    assert document["stats"]["queues"][0]["ready_high"] == 1
    names = ("submitted", "claimed", "completed", "failed", "leases_lost")
    assert list(document["rates"]) == [f"{name}_per_sec" for name in names]


@pytest.mark.parametrize("arguments", [["--once"], ["--json"]])
def test_nobody_leads_is_1(fake: Any, taskq: Any, naps: list[float], arguments: list[str]) -> None:
    serve(fake, leader="")
    assert taskq("top", *arguments).exit_code == 1


@pytest.mark.parametrize("arguments", [["--once"], ["--json"]])
def test_nobody_there_is_3(fake: Any, taskq: Any, naps: list[float], arguments: list[str]) -> None:
    fake.answers["call"] = ConnectionFailed("no node answered")
    outcome = taskq("top", *arguments)
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith("Cannot reach the cluster: no node answered.")
    assert naps == [], "nobody waits for a second look where the first one found nobody"


def test_watching_goes_on_over_trouble_until_ctrl_c(
    fake: Any, taskq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []

    def sleep(secs: float) -> None:
        naps.append(secs)
        if len(naps) == 3:
            raise KeyboardInterrupt
        if len(naps) == 1:
            fake.answers["call"] = ConnectionFailed("gone")
        else:
            serve(fake)

    monkeypatch.setattr(time, "sleep", sleep)
    serve(fake)
    outcome = taskq("top")
    assert outcome.exit_code == 130
    assert outcome.stdout.count("leader node2") == 2
    assert outcome.stdout.count("Cannot reach the cluster: gone") == 1
