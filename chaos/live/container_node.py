"""A real node in a container: as a `LiveNode`, but that an engine starts, kills and pauses it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from chaos.live.node import STOP_SECS, LiveNode

if TYPE_CHECKING:
    from chaos.live.containers import Containers

# As `docker run` ends where the engine cannot start a container.
NOT_STARTED = 125

Start = Callable[[], DockerContainer]


class ContainerNode(LiveNode):
    """The member `name` on `ground`; each start is a new container with the same name and address.

    `home` is at the same path there, and so are libraries that are put in front of libc: what works
    on the folder of a process works here. Its log goes to `home`/node.log while it runs. Nothing
    waits for the engine but `pid`, `kill`, `terminate`, `wait`, `pause` and `resume`.
    """

    def __init__(
        self,
        ground: Containers,
        name: str,
        home: Path,
        settings: Mapping[str, Any],
        *,
        host: str,
        port: int,
    ) -> None:
        super().__init__(home.absolute(), settings, host=host, port=port)
        self._ground = ground
        self._name = name
        self._life: _Life | None = None
        self._spawned_wall = 0.0

    @property
    def pid(self) -> int:
        """Of the node's process, as this machine counts; process 1 of the container is its parent.
        Raises ProcessLookupError where it is not there yet, or gone."""
        assert self._life is not None, "not spawned"
        try:
            (child,) = psutil.Process(_first_pid(self._life.container())).children()
        except (LookupError, ValueError, psutil.NoSuchProcess) as error:
            raise ProcessLookupError(f"{self._name} has no process") from error
        return int(child.pid)

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal, None while it runs."""
        return None if self._life is None else self._life.returncode

    @property
    def running(self) -> bool:
        """Whether the container lives."""
        return self._life is not None and self._life.returncode is None

    def spawn(self) -> None:
        """Starts a new container and does not wait."""
        assert not self.running, "already running"
        self._ready.unlink(missing_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        ours = self._variables()
        ours = {name: text for name, text in ours.items() if os.environ.get(name) != text}
        self._carry_libraries(ours)
        self._give_away()
        # Not of the container: process 1 would have them, too, with the libraries in front of it.
        command = ["env", *(f"{name}={text}" for name, text in ours.items())]
        command += ["tq-broker", "--ready-file", str(self._ready)]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        mounts = {str(self.home): "rw"}
        self.spawned_at = time.monotonic()
        self._spawned_wall = time.time()

        def start() -> DockerContainer:
            made = self._ground.container(self._name, command, mounts).start()
            self._ground.joined(self._name, _first_pid(made))
            return made

        self._life = _Life(start, self.log, self._life)

    def _carry_libraries(self, variables: dict[str, str]) -> None:
        """Those in front of libc, into a folder that the container's user can reach: who builds one
        keeps it in a home of its own."""
        libraries = [Path(one) for one in re.split("[: ]", variables.get("LD_PRELOAD", "")) if one]
        if libraries:
            folder = self.home / "libraries"
            folder.mkdir(exist_ok=True)
            carried = [shutil.copy(one, folder / one.name) for one in libraries]
            variables["LD_PRELOAD"] = ":".join(map(str, carried))

    def _give_away(self) -> None:
        """What we wrote in the folder as root has to be the node's."""
        if os.getuid() == 0:
            for path in (self.home, *self.home.rglob("*")):
                os.chown(path, self._ground.user, self._ground.user, follow_symlinks=False)

    def has_folder(self) -> bool:
        """Whether the running process holds the folder's lock: it reads the disk or serves. (In
        every container it has the same number.)"""
        try:
            return self.running and (self.folder / "lock").stat().st_mtime >= self._spawned_wall
        except FileNotFoundError:
            return False

    def kill_soon(self) -> None:
        """SIGKILL to all processes of the container, and does not wait."""
        assert self._life is not None
        threading.Thread(target=self._life.signal, args=("SIGKILL",), daemon=True).start()

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        assert self._life is not None
        self._life.signal("SIGKILL")
        self._life.ended.wait()

    def pause(self) -> None:
        """Stops all processes of the container; its connections stay open."""
        assert self._life is not None
        self._life.container().get_wrapped_container().pause()

    def resume(self) -> None:
        """They go on after `pause`."""
        assert self._life is not None
        self._life.container().get_wrapped_container().unpause()

    def ask_to_stop(self) -> None:
        """SIGTERM, and does not wait for what it does."""
        assert self._life is not None
        self._life.signal("SIGTERM")

    def terminate(self) -> float:
        """SIGTERM, and waits for the end; how many seconds it took. Kills after 20 s."""
        started = time.monotonic()
        self.ask_to_stop()
        return self.wait(STOP_SECS) - started

    def wait(self, timeout_secs: float) -> float:
        """Waits for the end; the time then. Raises subprocess.TimeoutExpired after a SIGKILL."""
        assert self._life is not None
        if not self._life.ended.wait(timeout_secs):
            self.kill()
            raise subprocess.TimeoutExpired(self._name, timeout_secs)
        return time.monotonic()


class _Life:
    """One container from its start to its end, followed by a thread of its own: what it says goes
    to `log`. The container of the life `before` is removed first."""

    def __init__(self, start: Start, log: Path, before: _Life | None) -> None:
        self.returncode: int | None = None
        self.ended = threading.Event()
        self._log = log
        self._made: DockerContainer | None = None
        self._begun = threading.Event()
        # A daemon: an experiment that is interrupted does not wait for its containers.
        threading.Thread(target=self._live, args=(start, before), daemon=True).start()

    def _live(self, start: Start, before: _Life | None) -> None:
        code = NOT_STARTED
        with self._log.open("ab", buffering=0) as log:
            try:
                if before is not None:
                    before.remove()
                self._made = start()
                self._begun.set()
                for part in self._made.get_wrapped_container().logs(stream=True, follow=True):
                    log.write(part)
                code = self._made.wait()
            except (DockerException, OSError, LookupError) as error:
                log.write(f"the engine: {error}\n".encode())
            finally:
                # 128 and the number of the signal: so the engine says that one ended it.
                self.returncode = 128 - code if code > 128 else code
                self._begun.set()
                self.ended.set()

    def container(self) -> DockerContainer:
        """Once it has started. Raises LookupError where it could not."""
        self._begun.wait()
        if self._made is None:
            raise LookupError("the engine did not start it")
        return self._made

    def signal(self, name: str) -> None:
        """To process 1, if there still is one. Raises DockerException where that fails."""
        try:
            self.container().get_wrapped_container().kill(name)
        except (DockerException, LookupError):
            # It may have ended meanwhile, or never started: that is seen a moment later.
            if not self.ended.wait(1.0):
                raise

    def remove(self) -> None:
        """It has ended."""
        self.ended.wait()
        if self._made is not None:
            self._made.stop()


def _first_pid(made: DockerContainer) -> int:
    """Of process 1 of the container, as this machine counts."""
    container = made.get_wrapped_container()
    container.reload()
    return int(container.attrs["State"]["Pid"])
