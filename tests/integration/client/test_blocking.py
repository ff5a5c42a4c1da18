"""The blocking face: threads, forks, Ctrl-C, interpreters. Programs of their own where needed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

import taskq
from taskq import commands as c
from tests.integration.client.scripted_node import Delayed, Drop, ScriptedNode, Silent


class ThreadedNode:
    """A scripted node on a loop in a thread, for callers that block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.node = ScriptedNode()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.run(self.node.start())

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def stop(self) -> None:
        self.run(self.node.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    threaded = ThreadedNode()
    yield threaded.node
    threaded.stop()


def run_program(source: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        **options,
    )


def test_a_round_through_the_methods(node):
    with taskq.Client(node.url) as client:
        handle = client.submit("q", b"x", headers={"a": "b"})
        assert isinstance(handle, taskq.TaskHandle)
        assert handle == client.task(str(handle.id))
        assert handle.status().state is taskq.TaskState.READY
        many = client.submit_many([taskq.TaskSpec(queue="q"), {"queue": "no way"}])
        assert [type(outcome) for outcome in many] == [taskq.TaskHandle, taskq.InvalidRequest]
        assert {status.id for status in client.tasks()} == {handle.id, many[0].id}
        session = client.worker(name="w")
        (task,) = session.claim(["q"])
        assert session.complete(task, b"done") is taskq.TaskState.COMPLETED
        assert client.result(task.task_id, timeout=5) == b"done"
        client.create_queue("q", ageing=1.5)
        assert client.ping() < 5
        with pytest.raises(taskq.NotFound):
            client.status(b"0" * 16)
        with pytest.raises(ValueError, match="no time zone"):
            client.submit("q", run_at=datetime(2030, 1, 1))  # noqa: DTZ001
        session.deregister()
    client.close()
    with pytest.raises(taskq.ConnectionFailed, match="closed"):
        client.ping()


def test_closing_what_was_never_used_starts_nothing(node):
    program = """
        import threading, taskq
        with taskq.Client("taskq://127.0.0.1:1") as client:
            pass
        client.close()
        assert threading.active_count() == 1
    """
    assert run_program(program).stderr == ""


def test_eight_threads_share_a_client(node):
    with taskq.Client(node.url) as client, ThreadPoolExecutor(8) as pool:

        def work(number: int) -> list[object]:
            return [client.submit("q", b"%d %d" % (number, n)).id for n in range(200)]

        ids = [task_id for ids in pool.map(work, range(8)) for task_id in ids]
        assert len(set(ids)) == 1_600
        assert {task_id.bytes for task_id in ids} == set(node.tasks)
        assert node.connection_count == 1


def test_threads_survive_lost_connections(node):
    submits = 0

    def script(command):
        nonlocal submits
        submits += 1
        return Drop(carried_out=submits % 2 == 0) if submits % 50 == 0 else None

    node.script = script
    with taskq.Client(node.url) as client, ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: client.submit("q").id.bytes, range(400)))
    assert sorted(node.tasks) == sorted(ids)


def test_clients_share_one_thread(node):
    with taskq.Client(node.url) as one, taskq.Client(node.url) as two:
        one.ping()
        two.ping()
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("taskq-client") == 1


def test_a_call_from_the_client_loop_is_an_error_and_no_deadlock(node):
    with taskq.Client(node.url) as client:
        client.ping()
        from taskq.client.loop_thread import loop_thread

        async def wrong():
            client.ping()

        with pytest.raises(RuntimeError, match="inside the client's own event loop"):
            loop_thread().run(wrong())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are not everywhere")
def test_parent_and_child_of_a_fork_both_work(node):
    program = """
        import os, sys, warnings, taskq
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks with threads
        client = taskq.Client(sys.argv[1], timeout=10)
        client.submit("before")
        for _ in range(3):
            child = os.fork()
            if child == 0:
                for _ in range(20):
                    client.submit("child")
                client.close()
                sys.exit(0)
            for _ in range(20):
                client.submit("parent")
            assert os.waitpid(child, 0)[1] == 0
        client.submit("after")
        client.close()
    """
    ended = run_program(program, node.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    queues = [task.queue for task in node.tasks.values()]
    assert {queue: queues.count(queue) for queue in set(queues)} == {
        "before": 1,
        "child": 60,
        "parent": 60,
        "after": 1,
    }
    assert node.connection_count == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are not everywhere")
def test_a_fork_while_other_threads_submit(node):
    program = """
        import os, sys, threading, warnings, taskq
        warnings.simplefilter("ignore", DeprecationWarning)
        client = taskq.Client(sys.argv[1], timeout=10)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                client.submit("parent")
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        children = []
        for _ in range(10):
            child = os.fork()
            if child == 0:
                client.submit("child")
                os._exit(0)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        stop.set()
        for thread in threads: thread.join()
        client.close()
        assert codes == [0] * 10, codes
    """
    ended = run_program(program, node.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sum(task.queue == "child" for task in node.tasks.values()) == 10


def test_an_import_starts_nothing_and_needs_only_the_base_install():
    program = """
        import sys, threading
        before = set(sys.modules)
        import taskq
        assert threading.active_count() == 1
        for heavy in ("pydantic", "plyvel", "pysyncobj", "uvloop", "prometheus_client", "cluster"):
            assert heavy not in sys.modules, heavy
        from taskq.client import loop_thread
        assert loop_thread._current is None
    """
    ended = run_program(program)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_a_call_and_leaves_the_client_usable(node):
    node.script = lambda command: Silent() if isinstance(command, c.GetStats) else None
    program = """
        import asyncio, signal, sys, taskq
        from taskq.client.loop_thread import loop_thread
        # Ignored where the tests run in the background of a shell.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        client = taskq.Client(sys.argv[1])
        client.ping()
        print("ready", flush=True)
        try:
            client.stats()
        except KeyboardInterrupt:
            client.submit("after")
            assert not asyncio.all_tasks(loop_thread().loop)
            client.close()
            print("ended", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), node.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        while not node.count(c.GetStats):
            time.sleep(0.01)
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "ended\n"
        assert time.monotonic() - interrupted < 1
        assert process.wait(10) == 0
    assert [task.queue for task in node.tasks.values()] == ["after"]
    assert node.connection_count == 1


def test_a_program_that_forgets_its_client_ends_quietly(node):
    program = """
        import sys, taskq
        client = taskq.Client(sys.argv[1])
        client.submit("q")
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), node.url],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_thread_waits_for_its_own_answer_only(node):
    node.script = lambda command: Delayed(0.5) if isinstance(command, c.GetStats) else None
    with taskq.Client(node.url) as client, ThreadPoolExecutor(1) as pool:
        client.ping()
        slow = pool.submit(pytest.raises, taskq.InvalidRequest, client.stats)
        started = time.monotonic()
        client.submit("q")
        assert time.monotonic() - started < 0.4
        slow.result()
