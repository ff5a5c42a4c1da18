"""A broker in memory for the tests of your programs: the real state machine, the real client, and a
time that only your test moves. Starts no process, needs no disk and nothing of the extra [broker].

    from taskq.testing import Broker

    with Broker() as broker:
        client = broker.client()
        handle = client.submit("mails", b"to: ann@example.org", delay=60)
        broker.advance(60)
        worker = client.worker()
        [task] = worker.claim(["mails"])
        worker.complete(task, b"sent")
        assert handle.result() == b"sent"

With pytest, `pytest_plugins = ["taskq.testing.fixtures"]` in `conftest.py` gives the fixtures
`taskq_broker` and `taskq_url`.
"""

from taskq.testing.broker import Broker

__all__ = ["Broker"]
