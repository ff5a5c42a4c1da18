"""What the script of a nightly backup leaves in its folder, whoever runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

KEPT = 14


def check_backups(command: Sequence[str], home: Path, works: bool) -> None:
    """Runs `command`, whose folder is `kept` in `home` and which finds `taskq` in `bin`, a program
    that `works` or fails. Of sixteen backups the newest stay, of unfinished files those that are
    written now."""
    folder, program = home / "kept", home / "bin/taskq"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n{"touch" if works else "false"} "$3"\n')
    program.chmod(0o755)
    folder.mkdir()
    names = [f"taskq-202001{day:02}T021700Z.backup" for day in range(1, KEPT + 3)]
    for name in names:
        (folder / name).touch()
    cut_off, under_way = folder / f"{names[0]}.12.part", folder / f"{names[1]}.13.part"
    cut_off.touch()
    under_way.touch()
    os.utime(cut_off, (0, 0))
    paths = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(command, env={"PATH": paths}, timeout=20, check=False)
    assert (done.returncode == 0) == works
    assert not cut_off.exists()
    assert under_way.exists()
    found = sorted(path.name for path in folder.glob("*.backup"))
    if works:
        assert len(found) == KEPT
        assert found[: KEPT - 1] == names[3:]
    else:
        assert found == names
