"""`hold.py QUEUE DELAY JITTER LOSS SEED`: holds up the packets of a netfilter queue, loses some.

Runs in the network namespace whose rules send packets to that queue (`NFQUEUE`), which every
kernel of a distribution has; `tc netem` does the same where it is built in, but not there. Each
packet waits by itself, so that some overtake others; segments of a large send are packets of
their own here, as on a wire. Speaks netlink by itself: only the numbers of packets pass through,
never their content. Format: linux/netfilter/nfnetlink_queue.h.

Imports nothing but the standard library: it starts in some hundredths of a second, many at once.
Says `ready` on its output when it has the queue. When its input ends it lets out what waits,
prints how many packets passed and how many were lost, and ends.
"""

from __future__ import annotations

import heapq
import random
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence

_NETLINK_NETFILTER = 12
_ERROR = 2
_QUEUE_PACKET, _QUEUE_VERDICT, _QUEUE_CONFIG = 0x300, 0x301, 0x302
_REQUEST, _WITH_ACK = 1, 4
_CONFIG_COMMAND, _CONFIG_PARAMS, _CONFIG_LENGTH_MAX = 1, 2, 3
_BIND = 1
_NUMBERS_ONLY = 1
_PACKET_HEADER, _VERDICT_HEADER = 1, 2
_DROP, _ACCEPT = 0, 1
_SOL_NETLINK, _NO_BUFFER_ERRORS = 270, 5
_SO_RCVBUFFORCE = 33

# Packets that may wait: some seconds of what a cluster sends. Those beyond are lost.
WAITING_COUNT_MAX = 100_000
BUFFER_SIZE = 8 << 20
# Header of the message, of the netfilter part, and of the first attribute.
_HEADER, _PART, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct(">BBH"), struct.Struct("=HH")


class Queue:
    """One netfilter queue of the network namespace in which it is made. Raises OSError where there
    is no such thing, or somebody else has it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        # A burst that does not fit into the buffer waits in the kernel instead.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_SIZE)
        self._socket.setsockopt(_SOL_NETLINK, _NO_BUFFER_ERRORS, 1)
        self._socket.bind((0, 0))
        self._configure(_CONFIG_COMMAND, struct.pack(">BxH", _BIND, socket.AF_INET))
        self._configure(_CONFIG_PARAMS, struct.pack(">IB", 0, _NUMBERS_ONLY))
        self._configure(_CONFIG_LENGTH_MAX, struct.pack(">I", WAITING_COUNT_MAX))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def packets(self) -> Iterator[int]:
        """The numbers of those that have come since the last call."""
        while True:
            try:
                data = self._socket.recv(65_536)
            except BlockingIOError:
                return
            for kind, body in _messages(data):
                if kind == _QUEUE_PACKET:  # the first attribute is always the packet's header
                    yield int.from_bytes(body[8:12], "big")

    def decide(self, packet: int, verdict: int) -> None:
        """Lets the packet go on, or drops it."""
        header = struct.pack(">II", verdict, packet)
        self._socket.send(self._message(_QUEUE_VERDICT, _REQUEST, _VERDICT_HEADER, header))

    def _configure(self, attribute: int, value: bytes) -> None:
        flags = _REQUEST | _WITH_ACK
        self._socket.send(self._message(_QUEUE_CONFIG, flags, attribute, value))
        for kind, body in _messages(self._socket.recv(65_536)):
            code = -int.from_bytes(body[:4], sys.byteorder, signed=True)
            if kind == _ERROR and code:
                raise OSError(code, f"netfilter queue {self._number}: code {code}")

    def _message(self, kind: int, flags: int, attribute: int, value: bytes) -> bytes:
        padded = value + bytes(-len(value) % 4)
        body = _PART.pack(socket.AF_UNSPEC, 0, self._number)
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + padded
        return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each netlink message."""
    while data:
        size, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : size]
        data = data[size + -size % 4 :]


def hold(queue: Queue, delay_secs: float, jitter_secs: float, loss: float, seed: int) -> str:
    """Until the input ends and nothing waits any more; a line about what was done."""
    chance = random.Random(seed)
    waiting: list[tuple[float, int]] = []
    passed = lost = 0
    selector = selectors.DefaultSelector()
    selector.register(queue, selectors.EVENT_READ)
    selector.register(sys.stdin.buffer, selectors.EVENT_READ)
    ending = False
    while not (ending and not waiting):
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready = [key.fileobj for key, _ in selector.select(pause)]
        now = time.monotonic()
        for packet in queue.packets():
            if chance.random() < loss:
                queue.decide(packet, _DROP)
                lost += 1
                continue
            wait_secs = delay_secs + chance.uniform(-jitter_secs, jitter_secs)
            heapq.heappush(waiting, (now + wait_secs, packet))
        while waiting and waiting[0][0] <= now:
            queue.decide(heapq.heappop(waiting)[1], _ACCEPT)
            passed += 1
        if not ending and sys.stdin.buffer in ready:
            ending = True
            selector.unregister(sys.stdin.buffer)
    return f"passed {passed} lost {lost}"


def main(words: Sequence[str]) -> None:
    """Queue number, delay and jitter in seconds, the part that is lost, seed. Raises OSError."""
    queue = Queue(int(words[0]))
    print("ready", flush=True)
    delay_secs, jitter_secs, loss = map(float, words[1:4])
    print(hold(queue, delay_secs, jitter_secs, loss, int(words[4])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
