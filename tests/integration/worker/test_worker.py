"""The worker with real processes, threads and coroutines, against a scripted cluster."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from taskq.errors import ErrorCode, OutcomeUnknown, PermissionDenied, Refusal, as_exception
from taskq.worker import Worker, WorkerError, WorkerLost


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_runs_the_function_and_hands_in_its_result(cluster: Any, start: Any) -> None:
    await start("add", concurrency=1)
    outcome = await cluster.outcome(cluster.submit(2, kwargs={"b": 3}))
    assert (outcome.ok, outcome.result) == (True, b"5")
    assert cluster.log[:2] == ["register", "claim"]


async def test_raw_function_gets_and_gives_bytes(cluster: Any, start: Any) -> None:
    await start("reverse", concurrency=1)
    outcome = await cluster.outcome(cluster.submit(payload=b"\x00abc"))
    assert outcome.result == b"cba\x00"


async def test_exception_fails_the_task_with_its_traceback(cluster: Any, start: Any) -> None:
    await start("fail", concurrency=1)
    outcome = await cluster.outcome(cluster.submit("no such luck"))
    assert not outcome.ok
    assert outcome.retry
    assert outcome.error.startswith("Traceback (most recent call last):")
    assert 'functions.py", line' in outcome.error
    assert outcome.error.endswith("RuntimeError: no such luck")
    assert "taskq/worker/function.py" not in outcome.error


async def test_sys_exit_in_the_function_is_a_failure(cluster: Any, start: Any) -> None:
    await start("sys_exit", concurrency=1)
    outcome = await cluster.outcome(cluster.submit())
    assert "SystemExit: the library wants to end the program" in outcome.error


async def test_result_that_is_no_json_is_not_retried(cluster: Any, start: Any) -> None:
    await start("unwritable", concurrency=1)
    outcome = await cluster.outcome(cluster.submit())
    assert (outcome.ok, outcome.retry) == (False, False)
    assert "cannot be written as JSON" in outcome.error


@pytest.mark.parametrize(
    ("function", "argument", "reason"),
    [
        ("crash", int(signal.SIGSEGV), "was ended by signal 11 (SIGSEGV) while running the task"),
        ("quit_hard", 7, "exited with status 7 while running the task"),
    ],
)
async def test_crashed_process_fails_its_task_and_is_replaced(
    cluster: Any, start: Any, function: str, argument: int, reason: str
) -> None:
    await start(function, concurrency=1)
    for _ in range(2):
        outcome = await cluster.outcome(cluster.submit(argument))
        assert not outcome.ok
        assert outcome.retry
        assert reason in outcome.error


async def test_claims_as_many_as_slots_are_free(cluster: Any, start: Any, until: Any) -> None:
    for _ in range(5):
        cluster.submit(0.2)
    await start("sleep", concurrency=3)
    await until(lambda: len(cluster.outcomes) == 5)
    assert cluster.claims[0] == 3
    assert max(cluster.claims) == 3


async def test_processes_run_side_by_side(cluster: Any, start: Any) -> None:
    await start("hold_interpreter_lock", concurrency=2)
    loop = asyncio.get_running_loop()
    first = cluster.submit(0.05)
    await cluster.outcome(first)
    began = loop.time()
    tasks = [cluster.submit(1.0), cluster.submit(1.0)]
    for task in tasks:
        await cluster.outcome(task)
    assert loop.time() - began < 1.9


async def test_task_that_holds_the_interpreter_lock_keeps_its_lease(
    cluster: Any, start: Any, until: Any
) -> None:
    await start("hold_interpreter_lock", concurrency=1)
    task = cluster.submit(1.6, lease_ms=1_000)
    await cluster.outcome(task)
    times = cluster.heartbeat_times
    assert cluster.heartbeats[0] == [task.token]
    assert len(times) >= 4  # a third of the lease
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.7


async def test_unanswered_heartbeat_is_repeated_within_two_seconds(
    cluster: Any, start: Any, until: Any
) -> None:
    await start("sleep", concurrency=1, heartbeat_interval=0.3)
    await until(lambda: cluster.heartbeats)
    cluster.hang = True
    count = len(cluster.heartbeat_times)
    await until(lambda: len(cluster.heartbeat_times) >= count + 2)
    assert cluster.heartbeat_times[count + 1] - cluster.heartbeat_times[count] <= 2.2


async def test_lost_token_stops_the_run_and_drops_its_outcome(
    cluster: Any, start: Any, until: Any
) -> None:
    worker, _ = await start("sleep", concurrency=1, cancel_grace=0.1)
    lost = cluster.submit(30, lease_ms=1_000)
    await until(lambda: [lost.token] in cluster.heartbeats)
    cluster.invalid = [lost.token]
    await until(lambda: worker.counts["dropped"] == 1, 5)
    await cluster.outcome(cluster.submit(0))
    assert lost.token not in cluster.outcomes


async def test_pushed_cancellation_terminates_the_process(
    cluster: Any, start: Any, until: Any, tmp_path: Path
) -> None:
    await start("start_child", concurrency=1, cancel_grace=0.1)
    pid_file = tmp_path / "pid"
    task = cluster.submit(str(pid_file))
    await until(pid_file.exists)
    cluster.on_cancel(task.token)
    outcome = await cluster.outcome(task)
    assert not outcome.ok
    assert "cancelled" in outcome.error
    grandchild = int(pid_file.read_text())
    await until(lambda: not alive(grandchild), 5)


async def test_cancellation_kills_what_ignores_sigterm(
    cluster: Any, start: Any, until: Any, tmp_path: Path
) -> None:
    await start("ignore_signals", concurrency=1, cancel_grace=0.2)
    task = cluster.submit(str(tmp_path / "started"))
    await until((tmp_path / "started").exists)
    cluster.on_cancel(task.token)
    assert not (await cluster.outcome(task, 5)).ok


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_cancellation_is_seen_through_the_flag(
    cluster: Any, start: Any, until: Any, executor: str
) -> None:
    await start("wait_for_cancel", concurrency=1, executor=executor)
    task = cluster.submit(lease_ms=1_000)
    await until(lambda: [task.token] in cluster.heartbeats)
    cluster.cancel = [task.token]  # the fallback: in the answer to a heartbeat
    outcome = await cluster.outcome(task)
    assert (outcome.ok, json.loads(outcome.result)) == (True, "stopped by the flag")


async def test_coroutine_functions_run_on_the_loop_and_are_cancelled(
    cluster: Any, start: Any, until: Any
) -> None:
    await start("nap", concurrency=50)
    tasks = [cluster.submit(0.3) for _ in range(50)]
    hung = cluster.submit(60)
    began = asyncio.get_running_loop().time()
    for task in tasks:
        assert (await cluster.outcome(task)).result == b'"napped"'
    assert asyncio.get_running_loop().time() - began < 3
    await until(cluster.ready.empty)
    await asyncio.sleep(0)
    cluster.on_cancel(hung.token)
    assert "cancelled" in (await cluster.outcome(hung, 3)).error


async def test_outcomes_of_one_moment_share_a_frame(cluster: Any, start: Any, until: Any) -> None:
    for _ in range(40):
        cluster.submit(0)
    await start("nap", concurrency=40)
    await until(lambda: len(cluster.outcomes) == 40)
    assert len(cluster.batches) < 30, "on a busy machine they end at several moments"


@pytest.mark.parametrize("function", ["who", "async_who"])
@pytest.mark.parametrize("executor", ["auto", "process", "thread"])
async def test_function_can_ask_for_its_task(
    cluster: Any, start: Any, function: str, executor: str
) -> None:
    if executor == "thread" and function == "async_who":
        executor = "coroutine"
    await start(function, concurrency=1, executor=executor)
    task = cluster.submit(headers={"traceparent": "00-abc"})
    outcome = await cluster.outcome(task)
    task_id, queue, attempt, traceparent = json.loads(outcome.result)
    assert task_id.replace("-", "") == task.task_id.hex()
    assert (queue, attempt, traceparent) == ("work", 1, "00-abc")


async def test_outcomes_are_sent_again_until_answered(cluster: Any, start: Any, until: Any) -> None:
    await start("sleep", concurrency=1)
    task = cluster.submit(0.3)
    await until(cluster.ready.empty)
    cluster.down = True
    await until(lambda: cluster.log.count("outcomes") >= 2)
    assert not cluster.outcomes
    cluster.down = False
    assert (await cluster.outcome(task)).ok


async def test_refused_result_becomes_a_failure(cluster: Any, start: Any) -> None:
    cluster.refusals = [as_exception(Refusal(ErrorCode.RESULT_TOO_LARGE.value, "at most 1 KiB"))]
    await start("add", concurrency=1)
    outcome = await cluster.outcome(cluster.submit(1))
    assert (outcome.ok, outcome.retry) == (False, False)
    assert "at most 1 KiB" in outcome.error


async def test_outcome_is_repeated_when_refused_for_now(cluster: Any, start: Any) -> None:
    full = as_exception(Refusal(ErrorCode.DISK_FULL.value, "full", 50))
    cluster.refusals = [full, OutcomeUnknown("no answer")]
    await start("add", concurrency=1)
    assert (await cluster.outcome(cluster.submit(1))).ok


async def test_drain_lets_running_tasks_end_and_claims_no_more(
    cluster: Any, start: Any, until: Any
) -> None:
    worker, serving = await start("sleep", concurrency=1)
    task = cluster.submit(0.5)
    await until(cluster.ready.empty)
    await asyncio.sleep(0.1)
    worker.stop()
    left = cluster.submit(0)
    await asyncio.wait_for(serving, 10)
    assert cluster.outcomes[task.token].ok
    assert left.token not in cluster.outcomes
    assert cluster.log[-2:] == ["deregister", "close"]
    assert cluster.released == []


async def test_drain_gives_back_what_does_not_end_in_time(
    cluster: Any, start: Any, until: Any
) -> None:
    worker, serving = await start("sleep", concurrency=1, graceful_shutdown_timeout=0.3)
    task = cluster.submit(60)
    await until(cluster.ready.empty)
    worker.stop()
    await asyncio.wait_for(serving, 5)
    assert cluster.released == [task.token]
    assert not cluster.outcomes


async def test_prefetched_tasks_start_without_another_claim(
    cluster: Any, start: Any, until: Any
) -> None:
    for _ in range(5):
        cluster.submit(0)
    await start("sleep", concurrency=1, prefetch=4)
    await until(lambda: len(cluster.outcomes) == 5)
    assert cluster.claims[0] == 5


async def test_drain_gives_back_at_once_what_was_not_started(
    cluster: Any, start: Any, until: Any
) -> None:
    tasks = [cluster.submit(1.0), cluster.submit(0), cluster.submit(0)]
    worker, serving = await start("sleep", concurrency=1, prefetch=2)
    await until(cluster.ready.empty)
    await asyncio.sleep(0.2)
    worker.stop()
    await until(lambda: cluster.released == [tasks[1].token, tasks[2].token], 0.5)
    assert not serving.done()
    await asyncio.wait_for(serving, 10)
    assert list(cluster.outcomes) == [tasks[0].token]


async def test_cancelled_before_its_start_is_not_run(cluster: Any, start: Any, until: Any) -> None:
    await start("sleep", concurrency=1, prefetch=1)
    cluster.submit(0.5)
    second = cluster.submit(60)
    await until(cluster.ready.empty)
    await asyncio.sleep(0.1)
    cluster.on_cancel(second.token)
    assert "before it was started" in (await cluster.outcome(second, 5)).error


async def test_second_stop_is_quick(cluster: Any, start: Any, until: Any) -> None:
    worker, serving = await start("sleep", concurrency=2)
    tasks = [cluster.submit(60), cluster.submit(60)]
    await until(cluster.ready.empty)
    worker.stop()
    await asyncio.sleep(0.1)
    assert not serving.done()
    worker.stop()
    await asyncio.wait_for(serving, 5)
    assert sorted(cluster.released) == [task.token for task in tasks]


async def test_worker_without_contact_gives_up(cluster: Any, start: Any, until: Any) -> None:
    _, serving = await start("sleep", concurrency=1, max_inactivity=1.0)
    cluster.submit(60)
    await until(cluster.ready.empty)
    cluster.down = True
    with pytest.raises(WorkerLost, match="max_inactivity"):
        await asyncio.wait_for(serving, 10)
    assert "deregister" not in cluster.log


async def test_worker_that_may_not_claim_ends_with_the_reason(
    cluster: Any, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise PermissionDenied("PERMISSION_DENIED", "this key may not claim")

    monkeypatch.setattr(cluster, "claim", refuse)
    _, serving = await start("sleep", concurrency=1)
    with pytest.raises(PermissionDenied, match="may not claim"):
        await asyncio.wait_for(serving, 10)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("no_such_module_xyz:f", "there is no module 'no_such_module_xyz'"),
        ("functions:nothing", "module 'functions' has no 'nothing'"),
        ("functions:HERE.x", "has no 'HERE'"),
        ("functions:signal", "it is no function but module"),
        ("functions", "write module:function"),
    ],
)
def test_function_that_cannot_be_found_is_named(
    function: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(WorkerError) as caught:
        Worker(None, function, "work")
    assert text in str(caught.value)


async def test_pool_processes_end_when_the_worker_is_killed(tmp_path: Path, until: Any) -> None:
    script = tmp_path / "victim.py"
    script.write_text(
        "import asyncio, sys, time\n"
        "from taskq.worker.target import Target\n"
        "from taskq.worker.process_pool import ProcessPool\n"
        "async def main():\n"
        "    pool = ProcessPool(Target('time', 'sleep'), 2, 0, 5.0)\n"
        "    await pool.start(None)\n"
        "    print(*pool.child_pids(), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert victim.stdout is not None
    pids = [int(word) for word in (await victim.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    victim.kill()
    await victim.wait()
    await until(lambda: not any(alive(pid) for pid in pids), 5)


async def test_working_folder_does_not_hide_our_modules(tmp_path: Path) -> None:
    for name in ("cluster.py", "queue.py", "taskq.py"):
        (tmp_path / name).write_text("raise ImportError('the wrong module was imported')\n")
    (tmp_path / "work.py").write_text("def hello():\n    return 'hello'\n")
    script = (
        "import asyncio, os, sys\n"
        "sys.path.append(os.getcwd())\n"
        "from taskq.results import ClaimedTask\n"
        "from taskq.worker.executor import Run\n"
        "from taskq.worker.process_pool import ProcessPool\n"
        "from taskq.worker.target import Target\n"
        "class Runs:\n"
        "    def run_ended(self, token, ended):\n"
        "        print(ended.result)\n"
        "        over.set()\n"
        "async def main():\n"
        "    global over\n"
        "    over = asyncio.Event()\n"
        "    pool = ProcessPool(Target('work', 'hello'), 1, 0, 5.0)\n"
        "    await pool.start(Runs())\n"
        "    task = ClaimedTask(bytes(16), 1, 'q', '', b'', {}, 150, 1, 30_000, None, 0)\n"
        "    pool.run(Run(task, 0.0, None))\n"
        "    await over.wait()\n"
        "    await pool.close()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        script,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    output, _ = await process.communicate()
    assert output == b"b'\"hello\"'\n"
