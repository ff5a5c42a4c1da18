r"""A ground on which each member is a host: a network namespace with an address of its own.

    clients here -- tq0 --- [tq0-hub: a bridge] --- eth0 [tq0-n1: a node]
                                              \--- eth0 [tq0-n2: a node] ...

Needs root on Linux, and `iproute2`, `iptables`, `util-linux`. Each run takes a slot, which stands
for its names and addresses; the lock of the slot ends with the process that took it, however that
ends, and whoever comes next removes what was left there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from chaos.live.ground import CLIENTS, FOLDER, LINKS, SHIM, Ground
from chaos.live.links import NamespaceLinks
from chaos.live.node import LiveNode

# Of the range for tests of network devices (RFC 2544), which nobody has at home or at work:
# 198.18.SLOT.*. Ours ends in 254, the hosts' in 1, 2, ...
RANGE = "198.18"
OURS = 254
SLOTS = range(100)
PREFIX = "tq"
LOCKS = Path("/run/taskq-chaos")
# Where `ip netns` keeps names.
NAMESPACES = Path("/run/netns")
TOOLS = {"ip": "iproute2", "iptables-restore": "iptables", "nsenter": "util-linux"}
# Until the processes of a host that goes have gone.
GONE_SECS = 5.0


def lacking() -> str:
    """Why there can be no such ground here; empty where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    packages = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    return f"missing packages: {' '.join(packages)}" if packages else ""


class Namespaces(Ground):
    """`seed`: of the packets that are held up or lost."""

    form = "namespaces"
    abilities = frozenset({LINKS, SHIM, FOLDER})

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._slot = -1
        self._lock: IO[str] | None = None
        self._addresses: dict[str, str] = {}
        self._links: NamespaceLinks | None = None

    @property
    def links(self) -> NamespaceLinks:
        assert self._links is not None, "not prepared"
        return self._links

    def prepare(self, names: Sequence[str]) -> None:
        """Also removes what dead runs left. Raises OSError, where a tool refuses or is missing."""
        if lacking():
            raise PermissionError(lacking())
        sweep()
        self._slot, self._lock = _free_slot()
        ends = {name: end for end, name in enumerate(names, 1)} | {CLIENTS: OURS}
        self._addresses = {name: f"{RANGE}.{self._slot}.{end}" for name, end in ends.items()}
        try:
            self._connect(names)
            self._links = NamespaceLinks(self._addresses, self._seed)
            for name in names:
                self._links.join(name, self._namespace(name))
        except BaseException:
            self.close()
            raise

    def host(self, name: str) -> str:
        return self._addresses[name]

    def node(self, name: str, home: Path, settings: Mapping[str, Any], port: int) -> LiveNode:
        inside = self.inside(name)
        return LiveNode(home, settings, host=self.host(name), port=port, prefix=inside)

    def inside(self, name: str) -> tuple[str, ...]:
        """Words before a command that is to run on this host, in the same process."""
        return ("nsenter", f"--net={self._namespace(name)}")

    def close(self) -> None:
        """Kills what still runs on the hosts, too."""
        if self._links is not None:
            self._links.close()  # what it counted stays
        if self._lock is not None:
            _clear(self._slot)
            self._lock.close()
            self._lock = None

    def _connect(self, names: Sequence[str]) -> None:
        here = f"{PREFIX}{self._slot}"
        hub = f"{here}-hub"
        _ip(f"netns add {hub}", *(f"netns add {here}-{name}" for name in names))
        _ip("link add br0 type bridge", "link set br0 up", inside=hub)
        _ip(f"link add {here} type veth peer name clients netns {hub}")
        _ip("link set clients master br0 up", inside=hub)
        _ip(f"address add {self.host(CLIENTS)}/24 dev {here}", f"link set {here} up")
        for name in names:
            host = f"{here}-{name}"
            _ip(f"link add {name} type veth peer name eth0 netns {host}", inside=hub)
            _ip(f"link set {name} master br0 up", inside=hub)
            address = f"address add {self.host(name)}/24 dev eth0"
            _ip("link set lo up", address, "link set eth0 up", inside=host)

    def _namespace(self, name: str) -> Path:
        return NAMESPACES / f"{PREFIX}{self._slot}-{name}"


def sweep() -> None:
    """Removes hosts, and kills what runs on them, of runs that have ended without doing so."""
    for slot in SLOTS:
        if _left(slot) and (lock := _locked(slot)) is not None:
            _clear(slot)
            lock.close()


def _free_slot() -> tuple[int, IO[str]]:
    for slot in SLOTS:
        if (lock := _locked(slot)) is not None:
            return slot, lock
    raise OSError(f"{len(SLOTS)} grounds are in use")


def _locked(slot: int) -> IO[str] | None:
    """The open file that holds the slot's lock; None where another has it."""
    LOCKS.mkdir(exist_ok=True)
    file = (LOCKS / str(slot)).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _left(slot: int) -> list[str]:
    """Names of namespaces of this slot."""
    return sorted(path.name for path in NAMESPACES.glob(f"{PREFIX}{slot}-*"))


def _clear(slot: int) -> None:
    """All that the slot stands for. The ways to the hosts end with their namespaces."""
    for name in _left(slot):
        _kill_all(name)
        _ip(f"netns delete {name}")
    with suppress(OSError):  # gone with its other end
        _ip(f"link delete {PREFIX}{slot}")


def _kill_all(namespace: str) -> None:
    deadline = time.monotonic() + GONE_SECS
    while pids := _run(["ip", "netns", "pids", namespace]).split():
        if time.monotonic() > deadline:
            raise OSError(f"processes {pids} on {namespace} do not end")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.01)


def _ip(*lines: str, inside: str = "") -> None:
    """Commands of `ip`, in the namespace of that name. Raises OSError at the first that fails."""
    where = ["-netns", inside] if inside else []
    _run(["ip", *where, "-batch", "-"], lines)


def _run(words: Sequence[str], lines: Iterable[str] = ()) -> str:
    text = "".join(line + "\n" for line in lines)
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}, {text.strip()!r}: {done.stderr.strip()}")
    return done.stdout
