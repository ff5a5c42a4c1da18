"""Units for machines without Kubernetes: well formed, closed in, settings that nodes take."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.config import ConfigError, load_config
from tests.integration.deploy.backups import check_backups

UNITS = Path(__file__).parents[3] / "deploy/systemd"
# Here are the programs of this environment.
BIN = Path(sys.executable).parent
EXPOSURE_MAX = 2.0


def environment(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """As installed, but for where the programs are."""
    for path in UNITS.glob("*.*"):
        text = path.read_text("utf-8").replace("/opt/taskq/bin", str(BIN))
        (tmp_path / path.name).write_text(text)
    return tmp_path


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("systemd-analyze")
    if command is None:
        pytest.skip("there is no systemd-analyze (Debian: systemd)")
    return subprocess.run([command, *words], capture_output=True, text=True, timeout=20)


def test_units_are_well_formed(units: Path) -> None:
    names = ["taskq.service", "taskq-worker@shop.service", "taskq-backup.service"]
    names += ["taskq-backup.timer", "taskq-backup-failed.service"]
    done = analyze("verify", *(units / name for name in names))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_mistake_in_a_unit_is_seen(units: Path) -> None:
    path = units / "taskq.service"
    path.write_text(path.read_text().replace("ExecStart=", "ExecBegin="))
    assert "ExecBegin" in analyze("verify", path).stderr


def test_a_node_is_closed_in(units: Path) -> None:
    done = analyze("security", "--offline=true", units / "taskq.service")
    found = re.search(r"exposure level for taskq.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) < EXPOSURE_MAX


def settings_of(unit: str) -> dict[str, str]:
    """The settings of a service, by name; of one that is given twice the last."""
    lines = (UNITS / unit).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w+=", line))


def folders_of(unit: str) -> set[str]:
    """Where a service keeps its data and its settings."""
    service = settings_of(unit)
    return {f"/var/lib/{service['StateDirectory']}", str(Path(service["EnvironmentFile"]).parent)}


def hidden_from(unit: str) -> set[str]:
    paths = settings_of(unit)["InaccessiblePaths"].split()
    return {path.removeprefix("-") for path in paths}


def test_each_service_has_a_user_of_its_own() -> None:
    """What runs as a node's user reads its memory, its data and its secret, and may end it."""
    services = {path.name: settings_of(path.name) for path in UNITS.glob("*.service")}
    users = {name: service["User"] for name, service in services.items()}
    assert {name: service["Group"] for name, service in services.items()} == users
    # What tells of a backup is a part of it.
    assert users.pop("taskq-backup-failed.service") == users["taskq-backup.service"]
    assert len(set(users.values())) == len(users) == 3
    made = re.findall(r"^u ([a-z-]+) ", (UNITS / "taskq.sysusers").read_text(), re.M)
    assert sorted(made) == sorted(users.values())


@pytest.mark.parametrize("unit", ["taskq-worker@.service", "taskq-backup.service"])
def test_others_see_nothing_of_a_node(unit: str) -> None:
    service, hidden = settings_of(unit), hidden_from(unit)
    assert folders_of("taskq.service") <= hidden
    assert service["ProtectProc"] == "invisible"
    assert str(Path(service["EnvironmentFile"]).parent) not in hidden


def test_task_code_sees_no_backups() -> None:
    assert folders_of("taskq-backup.service") <= hidden_from("taskq-worker@.service")


def test_a_node_takes_its_settings_when_it_has_a_secret() -> None:
    given = environment(UNITS / "node.env")
    with pytest.raises(ConfigError, match=r"raft\.secret"):
        load_config(UNITS / "taskq.yaml", given, {})
    config = load_config(UNITS / "taskq.yaml", {**given, "TASKQ_RAFT__SECRET": "s" * 64}, {})
    assert config.raft.node_id in {peer.node_id for peer in config.raft.peers}
    assert len(config.raft.others) == 2
    state = re.search(r"StateDirectory=(\w+)", (UNITS / "taskq.service").read_text())
    assert state is not None
    assert str(config.persistence.data_dir).startswith(f"/var/lib/{state[1]}/")


def test_a_node_has_time_to_stop() -> None:
    texts = {path.name: path.read_text() for path in UNITS.glob("*.service")}
    assert "TimeoutStopSec=60" in texts["taskq.service"]
    assert "TimeoutStopSec=90" in texts["taskq-worker@.service"]


def test_a_node_is_started_for_as_long_as_it_takes() -> None:
    """A start limit leaves a node down for good, whose disk or address came back a bit later."""
    assert settings_of("taskq.service")["StartLimitIntervalSec"] == "0"


def test_metrics_are_for_the_machine_alone() -> None:
    """Nothing asks for a key there."""
    given = {**environment(UNITS / "node.env"), "TASKQ_RAFT__SECRET": "s" * 64}
    assert load_config(UNITS / "taskq.yaml", given, {}).monitoring.host == "127.0.0.1"


def test_a_failed_backup_is_told() -> None:
    assert settings_of("taskq-backup.service")["OnFailure"] == "taskq-backup-failed.service"


def backup_script(folder: Path, programs: Path) -> list[str]:
    """What the unit runs, as systemd reads it, with other places for files and programs."""
    text = (UNITS / "taskq-backup.service").read_text("utf-8").replace("\\\n", "")
    (line,) = re.findall(r"^ExecStart=(.*)", text, re.M)
    words = [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(line)]
    places = {"/var/lib/taskq-backups": str(folder), "/opt/taskq/bin": str(programs)}
    for before, now in places.items():
        words = [word.replace(before, now) for word in words]
    return words


@pytest.mark.parametrize("works", [True, False])
def test_a_backup_leaves_the_newest(tmp_path: Path, works: bool) -> None:
    check_backups(backup_script(tmp_path / "kept", tmp_path / "bin"), tmp_path, works)
