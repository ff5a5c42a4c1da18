"""Files of ConfigMaps as a kubelet writes them: all at once, and followed by links."""

from __future__ import annotations

from pathlib import Path

from deploy.harness.machine import project


def seen(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_change_is_one_rename(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    project(folder, {"a": b"1", "b": b"2"}, 0o644)
    assert seen(folder) == {"a": b"1", "b": b"2"}
    assert (folder / "a").readlink() == Path("..data/a")
    first = (folder / "..data").resolve()

    project(folder, {"a": b"3", "c": b"4"}, 0o640)
    assert seen(folder) == {"a": b"3", "c": b"4"}
    assert (folder / "..data").resolve() != first
    assert not first.exists()
    assert (folder / "c").stat().st_mode & 0o777 == 0o640
