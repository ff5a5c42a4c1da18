"""A terminal as a reader has it: an interactive bash on a pseudo terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

WIDTH, HEIGHT = 100, 40
# Around the exit code that bash writes where its prompt would be.
PROMPT = re.compile("\x01(\\d+)\x02")
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")
WITHIN_SECS = 40.0
# Signals as in a new window, also where our caller ignores Ctrl-C (a job in the background does).
SHELL = [
    *("setsid", "--ctty", "env", "--default-signal"),
    *("bash", "--norc", "--noprofile", "--noediting", "-i"),
]


class Terminal:
    """One terminal. `text` is what the last command has written so far, without escape codes;
    `code` its exit code, None while it runs."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._quiet(slave)
        self._shell = subprocess.Popen(
            SHELL,
            cwd=folder,
            env={
                **environment,
                "PS1": "",
                "PROMPT_COMMAND": r'printf "\001%d\002" $?',
                "TERM": "xterm",
                "NO_COLOR": "1",
                "VIRTUAL_ENV_DISABLE_PROMPT": "1",
            },
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._raw = ""
        self.text = ""
        self.code: int | None = None
        self.ended()

    @staticmethod
    def _quiet(slave: int) -> None:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        modes = termios.tcgetattr(slave)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, modes)

    def type(self, line: str) -> None:
        """Types a line at the prompt; waits for nothing."""
        assert self.code is not None, f"there is a program in front that wrote:\n{self.text}"
        self._raw, self.text, self.code = "", "", None
        os.write(self._master, f"{line}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self._master, b"\x03")

    def ended(self) -> None:
        """Waits for the prompt; fails the test where it does not come in time."""
        self._read_until(lambda: self.code is not None, "the prompt")

    def shows(self, wanted: re.Pattern[str]) -> re.Match[str]:
        """Waits until the last command has written something. If it ends, it has said it all."""
        done = lambda: self.code is not None or wanted.search(self.text) is not None  # noqa: E731
        self._read_until(done, wanted.pattern)
        found = wanted.search(self.text)
        assert found is not None, f"not seen: {wanted.pattern}\nbut this:\n{self.text}"
        return found

    def _read_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WITHIN_SECS
        while not condition():
            left = deadline - time.monotonic()
            readable, _, _ = select.select([self._master], [], [], max(left, 0))
            assert readable, f"not seen in {WITHIN_SECS:g} s: {what}\nbut this:\n{self.text}"
            self._take(os.read(self._master, 65_536))

    def _take(self, data: bytes) -> None:
        self._raw += data.decode("utf-8", "replace")
        prompt = PROMPT.search(self._raw)
        if prompt is not None:
            self.code = int(prompt[1])
        written = self._raw if prompt is None else self._raw[: prompt.start()]
        self.text = ESCAPES.sub("", written).replace("\r", "")

    def close(self) -> None:
        """Hangs up, as closing the window does, and waits for the shell."""
        os.close(self._master)
        self._shell.wait(20)
