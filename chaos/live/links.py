"""The ways between hosts that have a network namespace each, cut and worsened by the kernel.

    harm --> rules of the host where a packet arrives:  DROP, or NFQUEUE --> chaos/live/hold.py

All is done at the receiving end, after the sender's machine has let go of the packet: held up or
lost further back, the sender's TCP would know of it (Linux does not send again what has not left
its own queues). A host is known by its namespace, so processes and containers are alike.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chaos.live.ground import CLIENTS, Mend, Way

HOLD = Path(__file__).with_name("hold.py")
# A queue that nobody reads: unlike DROP, it does not tell the sender on the same host.
VANISH = "NFQUEUE --queue-num 65535"
# Longer than a packet is held up; then the program is stuck.
ENDS_SECS = 10.0
OWN = Path("/proc/self/ns/net")


@dataclass(frozen=True)
class Worse:
    """What happens to packets: see `Links.worsen`. Seconds; a part of 1."""

    delay_secs: float
    jitter_secs: float
    loss: float


@dataclass(frozen=True)
class _Host:
    """A network namespace: a path at which it is found, and which one it was when it was."""

    path: Path
    inode: int

    @property
    def there(self) -> bool:
        """Whether it still is: the number of a process that ended may be that of another."""
        try:
            return self.path.stat().st_ino == self.inode
        except OSError:
            return False


@dataclass(eq=False)
class _Harm:
    """`how`: None where the ways are cut. `queue`: its netfilter queue, the same on every host.
    `holding`: by the receiving host's name, the program that does it."""

    ways: frozenset[Way]
    how: Worse | None
    queue: int = 0
    holding: dict[str, subprocess.Popen[str]] = field(default_factory=dict)


class NamespaceLinks:
    """`addresses`: of each member, and of CLIENTS where those are to be cut off, too.

    Members have no host until `join`. `close` at the end: programs may be running. `passed`
    and `lost` count the packets that were worsened, of harms that were mended.
    """

    means = "iptables DROP, NFQUEUE"

    def __init__(self, addresses: Mapping[str, str], seed: int = 0) -> None:
        self._addresses = addresses
        self._seeds = itertools.count(seed)
        self._queues = itertools.count(1)
        self._hosts: dict[str, _Host] = {}
        self._harms: list[_Harm] = []
        self._lock = threading.Lock()
        self.passed = self.lost = 0

    def join(self, name: str, namespace: Path) -> None:
        """The member's host is there, in this network namespace (`/proc/PID/ns/net` or one of
        `ip netns`), perhaps anew: what lies on its ways counts there from now on. A host whose
        namespace is gone is passed over until then. Raises OSError."""
        inode = namespace.stat().st_ino
        if inode == OWN.stat().st_ino:
            raise OSError(f"{name} has no network namespace of its own")
        with self._lock:
            self._hosts[name] = _Host(namespace, inode)
            for harm in self._harms:
                if harm.how is not None and name in _receivers(harm):
                    self._end(name, harm.holding.pop(name, None))
                    self._hold(harm, [name])
            self._rule([name])

    def cut(self, ways: Iterable[Way]) -> Mend:
        """As `Links.cut`."""
        with self._lock:
            harm = _Harm(frozenset(ways), None)
            self._harms.append(harm)
            return self._imposed(harm)

    def worsen(
        self, ways: Iterable[Way], *, delay_secs: float, jitter_secs: float, loss: float
    ) -> Mend:
        """As `Links.worsen`."""
        how = Worse(delay_secs, jitter_secs, loss)
        with self._lock:
            harm = _Harm(frozenset(ways), how, next(self._queues))
            assert CLIENTS not in itertools.chain(*harm.ways), "clients can only be cut off"
            self._harms.append(harm)  # `close` ends what it holds, whatever happens
            self._hold(harm, _receivers(harm))
            return self._imposed(harm)

    def close(self) -> None:
        """Ends all programs; the rules stay, where the namespaces do."""
        with self._lock:
            for holding in [one for harm in self._harms for one in harm.holding.values()]:
                holding.kill()
                holding.communicate()
            self._harms.clear()
            self._hosts.clear()

    # --- harms ------------------------------------------------------------------------------------

    def _imposed(self, harm: _Harm) -> Mend:
        self._rule(_ruled(harm))
        return lambda: self._mend(harm)

    def _mend(self, harm: _Harm) -> None:
        with self._lock:
            if harm not in self._harms:
                return  # all was closed meanwhile
            self._harms.remove(harm)
            self._rule(_ruled(harm))
            for name, holding in harm.holding.items():
                self._end(name, holding)

    # --- rules ------------------------------------------------------------------------------------

    def _rule(self, names: Iterable[str]) -> None:
        """Gives these hosts the rules that they are to have now, each in one step."""
        command = ("iptables-restore", "--wait")
        running = {name: self._start(name, command) for name in self._present(names)}
        for name, one in running.items():
            _, errors = one.communicate(self._rules(name))
            if one.returncode and self._hosts[name].there:
                raise OSError(f"rules of {name}: {errors.strip()}")

    def _rules(self, name: str) -> str:
        chains = [f":{chain} ACCEPT" for chain in ("INPUT", "FORWARD", "OUTPUT")]
        lines = ["*filter", *chains, *self._lines(name), "COMMIT"]
        return "\n".join(lines) + "\n"

    def _lines(self, name: str) -> Iterator[str]:
        for harm in sorted(self._harms, key=lambda harm: harm.how is not None):
            what = "DROP" if harm.how is None else f"NFQUEUE --queue-num {harm.queue}"
            for sender, receiver in sorted(harm.ways):
                if receiver == name:
                    yield f"-A INPUT -s {self._addresses[sender]} -j {what}"
                elif (sender, receiver) == (name, CLIENTS):
                    yield f"-A OUTPUT -d {self._addresses[CLIENTS]} -j {VANISH}"

    # --- programs ---------------------------------------------------------------------------------

    def _hold(self, harm: _Harm, names: Iterable[str]) -> None:
        """Starts the programs of this harm on these hosts, before rules send packets to them."""
        assert harm.how is not None
        how = harm.how
        words = (harm.queue, how.delay_secs, how.jitter_secs, how.loss, next(self._seeds))
        command = (sys.executable, "-IS", str(HOLD), *map(str, words))
        begun = {name: self._start(name, command) for name in self._present(names)}
        harm.holding.update(begun)
        for name, one in begun.items():
            assert one.stdout is not None
            if one.stdout.readline().strip() != "ready" and self._hosts[name].there:
                _, errors = one.communicate()
                raise OSError(f"packets to {name} cannot be held up: {errors.strip()}")

    def _end(self, name: str, holding: subprocess.Popen[str] | None) -> None:
        """Lets out what waits and ends; what was done is counted. Raises OSError where it was not
        done to the end."""
        if holding is None:
            return
        try:
            words, errors = holding.communicate(timeout=ENDS_SECS)
        except subprocess.TimeoutExpired:
            holding.kill()
            raise
        if holding.returncode == 0:
            _, passed, _, lost = words.split()[-4:]
            self.passed += int(passed)
            self.lost += int(lost)
        elif self._hosts[name].there:
            raise OSError(f"packets to {name} were not held up any more: {errors.strip()}")

    def _present(self, names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if self._hosts[name].there)

    def _start(self, name: str, command: Iterable[str]) -> subprocess.Popen[str]:
        """In the host's network namespace; Ctrl-C is for us, not for it."""
        pipe = subprocess.PIPE
        words = ["nsenter", f"--net={self._hosts[name].path}", *command]
        return subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )


def _receivers(harm: _Harm) -> set[str]:
    return {receiver for _, receiver in harm.ways}


def _ruled(harm: _Harm) -> set[str]:
    """Hosts whose rules depend on it: the receivers; senders to clients."""
    return {sender if receiver == CLIENTS else receiver for sender, receiver in harm.ways}
