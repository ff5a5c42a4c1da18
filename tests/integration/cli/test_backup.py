"""`taskq backup` and the offline commands as an operator types them: documents, files, refusals."""

from __future__ import annotations

from typing import Any

from tests.unit.cli.documented import check


def test_a_backup_from_its_making_to_a_cluster_of_its_own(shell: Any, url: str) -> None:
    shell.environment["TASKQ_URL"] = url
    for _ in range(3):
        shell.run("submit", "q")
    made = check("backup create", shell.json("backup", "create", "a.backup"))
    found = check("backup verify", shell.json("backup", "verify", "a.backup"))
    assert {name: found[name] for name in made} == made
    assert found["tasks"] >= 3

    again = shell.run("backup", "create", "a.backup", code=1)
    assert "there is a file of this name" in again.stderr
    shell.run("backup", "create", "a.backup", "--overwrite", "--stale")
    assert sorted(one.name for one in shell.folder.glob("*backup*")) == ["a.backup"]

    options = ("a.backup", "--data-dir", "kept", "--form", "cluster")
    restored = check("backup restore", shell.json("backup", "restore", *options))
    assert (restored["raft_enabled"], restored["tasks"]) == (True, found["tasks"])
    refused = shell.run("backup", "restore", *options, code=1)
    assert "is not empty" in refused.stderr

    where = ("--data-dir", "kept")
    examined = check("cluster examine", shell.json("cluster", "examine", *where))
    assert examined["most"] == "node1"
    told = shell.run("cluster", "recover", *where, code=1)
    assert "With --accept-loss it is done" in told.stderr
    wrong = ("--accept-loss", "--node-id", "node2")
    assert "not node1" in shell.run("cluster", "recover", *where, *wrong, code=1).stderr
    assert "not node1" in shell.run("cluster", "recover", *where, "--accept-loss", code=1).stderr
    assert shell.json("cluster", "examine", *where) == examined, "nothing was changed"
    done = check("cluster recover", shell.json("cluster", "recover", *where, *wrong[:1], "--yes"))
    assert done["before"] == examined["folders"][0]


def test_a_file_that_is_no_backup(shell: Any) -> None:
    (shell.folder / "letter").write_text("Dear Ann")
    assert "The file ends" in shell.run("backup", "verify", "letter", code=1).stderr
    (shell.folder / "letter").write_text("Dear Ann, I have not written for long")
    assert "no backup of taskq" in shell.run("backup", "verify", "letter", code=1).stderr
    assert "No such file" in shell.run("backup", "verify", "none", code=1).stderr
