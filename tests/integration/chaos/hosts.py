"""Programs on the hosts of a ground: who hears whom, when, and over which connection."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import permutations
from types import TracebackType

from chaos.live.ground import CLIENTS, Way
from chaos.live.namespaces import Namespaces

PORT = 7000
# A packet that is not held up has been delivered when it has been sent, or as good as.
HEARD_SECS = 0.05

# A line on its input: so many datagrams, so far apart, to each of these addresses; when that is
# done, it says so. The empty line: what was heard since the last one is told, each with its sender
# and how late it came.
POST = """
import socket, sys, time, select
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
own.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
heard = []
while True:
    ready, _, _ = select.select([own, sys.stdin], [], [])
    if own in ready:
        data, (sender, _) = own.recvfrom(2000)
        heard.append(f"{sender}={time.monotonic() - float(data):.6f}")
    else:
        words = sys.stdin.readline()
        if not words:
            break
        if words == "\\n":
            print(" ".join(heard), flush=True)
            heard.clear()
            continue
        count, apart, *addresses = words.split()
        for _ in range(int(count)):
            for address in addresses:
                own.sendto(b"%f" % time.monotonic(), (address, int(sys.argv[2])))
            time.sleep(float(apart))
        print("sent", flush=True)
"""


class Posts:
    """A program on each host, and one here for the clients, that send datagrams to each other."""

    def __init__(self, ground: Namespaces, names: Iterable[str]) -> None:
        self._addresses = {name: ground.host(name) for name in (*names, CLIENTS)}
        self._names = {address: name for name, address in self._addresses.items()}
        self._running = {
            name: self._start(ground.inside(name) if name != CLIENTS else (), address)
            for name, address in self._addresses.items()
        }

    def lateness(
        self, ways: Iterable[Way], *, count: int = 3, apart_secs: float = 0.0, wait_secs: float
    ) -> dict[Way, list[float]]:
        """Sends on these ways; of each on which something came, how late each one was, seconds, in
        the order in which they came."""
        to = defaultdict(list)
        for sender, receiver in ways:
            to[sender].append(self._addresses[receiver])
        for sender, addresses in to.items():
            self._say(sender, f"{count} {apart_secs} {' '.join(addresses)}")
        for sender in to:
            assert self._hear(sender) == "sent"
        time.sleep(wait_secs)
        found: dict[Way, list[float]] = defaultdict(list)
        for name in self._addresses:
            self._say(name, "")
            for word in self._hear(name).split():
                sender, _, late = word.partition("=")
                found[self._names[sender], name].append(float(late))
        return dict(found)

    def open_ways(self) -> set[Way]:
        """Of all there are, those on which something came."""
        return set(self.lateness(permutations(self._addresses, 2), wait_secs=HEARD_SECS))

    def __enter__(self) -> Posts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for post in self._running.values():
            post.communicate()

    def _start(self, prefix: Sequence[str], address: str) -> subprocess.Popen[str]:
        words = [*prefix, sys.executable, "-IS", "-c", POST, address, str(PORT)]
        post = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert post.stdout is not None
        assert post.stdout.readline() == "ready\n"
        return post

    def _say(self, name: str, line: str) -> None:
        given = self._running[name].stdin
        assert given is not None
        given.write(line + "\n")
        given.flush()

    def _hear(self, name: str) -> str:
        said = self._running[name].stdout
        assert said is not None
        return said.readline().strip()


ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("ready", flush=True)
    one, _ = server.accept()
    while data := one.recv(65536):
        one.sendall(data)
"""
PIPE = """
import socket, sys, time
one = socket.create_connection((sys.argv[1], int(sys.argv[2])))
for size in sys.stdin:
    sent = b"x" * int(size)
    began = time.monotonic()
    one.sendall(sent)
    left = len(sent)
    while left:
        left -= len(one.recv(65536))
    print(time.monotonic() - began, flush=True)
"""


class Talk:
    """A TCP connection from one host to another, which sends back all that it gets."""

    def __init__(self, ground: Namespaces, one: str, other: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        words = [sys.executable, "-IS", "-c"]
        where = [ground.host(other), str(PORT + 1)]
        self._echo = subprocess.Popen([*ground.inside(other), *words, ECHO, *where], **pipes)
        assert self._echo.stdout is not None
        assert self._echo.stdout.readline() == "ready\n"
        self._pipe = subprocess.Popen([*ground.inside(one), *words, PIPE, *where], **pipes)

    def begin(self, size: int = 1) -> None:
        """Sends so many bytes."""
        self._pipe.stdin.write(f"{size}\n")
        self._pipe.stdin.flush()

    def took_secs(self) -> float:
        """Waits for all of them; how long that was."""
        return float(self._pipe.stdout.readline())

    def __enter__(self) -> Talk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in (self._pipe, self._echo):
            one.kill()
            one.communicate()
