"""API keys on three nodes: limits behind nodes that do not lead, revocation, the audit log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.gauges import metrics
from chaos.live.node import LiveNode
from taskq import AsyncClient, commands
from taskq.cli.keys import entry_of, hash_of
from taskq.errors import Refusal
from taskq.results import HelloReply, Submitted, TaskState
from tests.integration.config.live_node import PATIENCE_SECS, Link, until

OURS, THEIRS = "mail.out", "sms"
ROOT, MAILER, WORKER, LATER = (f"tq_{name}-{uuid4().hex}" for name in ("r", "p", "w", "l"))
ENTRIES = {
    ROOT: ("admin", "*", "operators"),
    MAILER: ("producer", "mail.*", "mailer"),
    WORKER: ("worker", "mail.*", "mail-worker"),
    LATER: ("worker", "mail.*", "mail-worker-2"),
}


def write_keys(cluster: LiveCluster, *keys: str) -> None:
    """Each node has its own file."""
    auth = {"enabled": True, "api_keys": [entry_of(hash_of(key), *ENTRIES[key]) for key in keys]}
    for node in cluster.nodes.values():
        node.home.mkdir(parents=True, exist_ok=True)
        node.config = node.home / "taskq.yaml"
        aside = node.home / "taskq.yaml.new"
        aside.write_text(json.dumps({"auth": auth}))
        aside.rename(node.config)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Whole. What looks after it has the admin's key from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKQ_API_KEY", ROOT)
        with LiveCluster(tmp_path_factory.mktemp("keys")) as made:
            made.key = ROOT
            write_keys(made, ROOT, MAILER, WORKER)
            made.start()
            asyncio.run(made.whole())
            yield made


class Caller:
    """A connection with one node, and with no other."""

    def __init__(self, link: Link, hello: Any) -> None:
        self.link = link
        self.hello = hello

    @classmethod
    async def of(cls, node: LiveNode, key: str | None) -> Caller:
        link = Link(*await asyncio.open_connection(node.host, node.port))
        return cls(link, await link.greet(key))

    async def ask(self, command: Any) -> Any:
        self.link.send(command)
        return (await self.link.reply()).value


def audited(cluster: LiveCluster) -> list[dict[str, Any]]:
    """The lines of all nodes' audit logs."""
    texts = [node.log.read_text("utf-8") for node in cluster.nodes.values()]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    return [line for line in lines if line["logger"] == "audit"]


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
async def test_whichever_node_is_asked_a_limited_key_has_its_queues_only(
    cluster: LiveCluster, name: str
) -> None:
    node = cluster.nodes[name]
    root, mailer = await Caller.of(node, ROOT), await Caller.of(node, MAILER)
    theirs, ours = uuid4().bytes, uuid4().bytes
    assert isinstance(await root.ask(commands.SubmitTask(theirs, THEIRS)), Submitted)
    assert isinstance(await mailer.ask(commands.SubmitTask(ours, OURS)), Submitted)
    batch: list[Any] = [[None, THEIRS], [None, OURS]]
    answers = (await mailer.ask(commands.SubmitTasks(batch))).answers
    assert [accepted for accepted, _ in answers] == [False, True]
    refused = [
        (commands.SubmitTask(None, THEIRS), "PERMISSION_DENIED"),
        (commands.ListTasks(THEIRS), "PERMISSION_DENIED"),
        (commands.QueryStatus(theirs), "NOT_FOUND"),
        (commands.CancelTask(theirs, force=True), "NOT_FOUND"),
        (commands.ClaimTask(b"w" * 16, 1, 1, [OURS]), "PERMISSION_DENIED"),
        (commands.PauseQueue(OURS), "PERMISSION_DENIED"),
        (commands.TransferLeadership(), "PERMISSION_DENIED"),
    ]
    for command, code in refused:
        answer = await mailer.ask(command)
        assert isinstance(answer, Refusal), command
        assert answer.code == code
    listed = (await mailer.ask(commands.ListTasks())).tasks
    assert {task.queue for task in listed} == {OURS}
    assert (await root.ask(commands.QueryStatus(theirs))).state == TaskState.READY
    for caller in (root, mailer):
        caller.link.close()


async def test_acts_are_noted_where_they_were_asked_for(cluster: LiveCluster) -> None:
    leader = await cluster.leader()
    (other, *_) = (node for name, node in cluster.nodes.items() if name != leader)
    root, mailer = await Caller.of(other, ROOT), await Caller.of(other, MAILER)
    await root.ask(commands.PauseQueue(OURS))
    await root.ask(commands.ResumeQueue(OURS))
    await root.ask(commands.RedriveDead([uuid4().bytes]))
    await mailer.ask(commands.PurgeQueue(OURS))
    found = {(line["message"], line["who"]): line for line in audited(cluster)}
    paused = found["PauseQueue", "operators"]
    assert (paused["queue"], paused["outcome"]) == (OURS, "done")
    assert paused["client"].startswith("127.0.0.1:")
    redriven = found["RedriveDead", "operators"]
    assert (redriven["done"], redriven["refused"]) == (0, 1)
    assert found["PurgeQueue", "mailer"]["outcome"] == "PERMISSION_DENIED"
    assert paused["node"] == redriven["node"] != leader


async def test_a_revoked_key_is_out_at_once_and_its_claims_with_it(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    write_keys(cluster, ROOT, WORKER)
    key_file = tmp_path / "key"
    key_file.write_text(WORKER)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "taskq.cli", "worker", "os:getpid", "--queue", "mail.process"),
        env={**os.environ, "TASKQ_URL": cluster.url, "TASKQ_API_KEY": f"@{key_file}"},
        stderr=subprocess.PIPE,
    )
    callers = [await Caller.of(node, WORKER) for node in cluster.nodes.values()]
    claims = [
        caller.link.send(commands.ClaimTask(bytes([number]) * 16, 1, 1, ["mail.x"], 1, 60_000))
        for number, caller in enumerate(callers)
    ]
    async with AsyncClient(cluster.url, timeout=PATIENCE_SECS) as client:

        async def all_wait() -> bool:
            workers = await client.workers()
            return len(workers) == 1  # the process; the others have claimed nothing yet

        async def none_wait() -> bool:
            counts = [(await metrics(node))["tq_parked_claims"] for node in cluster.nodes.values()]
            return not any(counts)

        async def ours_wait() -> bool:
            leader = cluster.nodes[await cluster.leader()]
            return (await metrics(leader))["tq_parked_claims"] > len(callers)

        await until(all_wait, "the worker has registered")
        await until(ours_wait, "each claim waits at the leader, and the worker's")
        write_keys(cluster, ROOT, LATER)
        for node in cluster.nodes.values():
            os.kill(node.pid, signal.SIGHUP)
        for caller, claim in zip(callers, claims, strict=True):
            told = await caller.link.reply()
            assert (told.request_id, told.value.code) == (0, "UNAUTHENTICATED"), claim
            with pytest.raises(EOFError):
                await caller.link.reply()
        await until(none_wait, "the leader hears of it from the other nodes")
        task_id = (await client.submit("mail.x")).id
        await asyncio.sleep(0.3)
        assert (await client.status(task_id)).state == TaskState.READY
    for node in cluster.nodes.values():
        again = await Caller.of(node, WORKER)
        assert again.hello.code == "UNAUTHENTICATED"
        assert isinstance((await Caller.of(node, LATER)).hello, HelloReply)
    _, words = await asyncio.wait_for(worker.communicate(), PATIENCE_SECS)
    said = words.decode()
    assert worker.returncode == 1, said
    assert "UNAUTHENTICATED" in said
    assert "Traceback" not in said
    replaced = [line for line in audited(cluster) if line["message"] == "keys replaced"]
    assert {line["node"] for line in replaced} == set(cluster.nodes)
    assert replaced[-1]["added"] == ["mail-worker-2"]


def test_the_command_line_says_what_is_missing(cluster: LiveCluster) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskq.cli", "stats"],
        env={**os.environ, "TASKQ_URL": cluster.url, "TASKQ_API_KEY": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECS,
    )
    said = done.stderr
    assert (done.returncode, "wants an API key" in said, "TASKQ_API_KEY" in said) == (1, True, True)


def test_no_key_is_in_any_log(cluster: LiveCluster) -> None:
    for node in cluster.nodes.values():
        text = node.log.read_text("utf-8")
        assert not any(key in text or hash_of(key) in text for key in ENTRIES)
