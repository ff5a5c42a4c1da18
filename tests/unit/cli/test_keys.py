"""`taskq keys`: what it makes is what a broker takes, and opens what it says."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config import Config, load_config
from cluster.server.access import Access, Grant
from taskq.client.credential import KEY_VARIABLE, Credential
from tests.unit.cli.documented import check


def config_of(*entries: str) -> Config:
    """A configuration with these lines in its list of keys."""
    keys = yaml.safe_load("\n".join(entries))
    return load_config(None, {}, {"auth.enabled": True, "auth.api_keys": keys})


def created(taskq: Any, *options: str) -> tuple[str, str]:
    """(key, entry) as they are printed."""
    outcome = taskq("keys", "create", *options)
    assert outcome.exit_code == 0, outcome.output
    key, entry = outcome.stdout.splitlines()
    assert key not in entry
    return key, entry


def test_the_printed_entry_lets_the_printed_key_in(taskq: Any) -> None:
    mailer, mailers = created(
        taskq, "--role", "producer", "--queues", "mail.[ab]*", "--name", "mailer"
    )
    root, roots = created(taskq, "--role", "admin")
    auth = config_of(mailers, roots).auth
    assert [key.label for key in auth.api_keys] == ["mailer", auth.api_keys[1].hash[:15]]
    access = Access.of(auth)
    granted, all_granted = access.admit(mailer), access.admit(root)
    assert isinstance(granted, Grant)
    assert isinstance(all_granted, Grant)
    assert granted.scope is not None
    assert (granted.scope.covers("mail.a1"), granted.scope.covers("mail.c")) == (True, False)
    assert all_granted.scope is None
    assert granted.codes < all_granted.codes


def test_a_key_file_holds_the_key_alone_and_is_for_its_owner(taskq: Any, tmp_path: Path) -> None:
    file = tmp_path / "mailer.key"
    create = ("keys", "create", "--role", "producer", "--key-file", str(file))
    made = taskq(*create)
    assert made.exit_code == 0, made.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = Credential(None, {KEY_VARIABLE: f"@{file}"}).now()
    assert key is not None
    assert key not in made.output
    assert f"TASKQ_API_KEY=@{file}" in made.stderr
    assert isinstance(Access.of(config_of(made.stdout).auth).admit(key), Grant)
    again = taskq(*create)
    assert (again.exit_code, again.stderr) == (1, f"{file}: File exists.\n")
    assert file.read_text() == key + "\n"
    others = ("--name", "mailer", "--json")
    document = taskq(*create[:-1], str(tmp_path / "other.key"), *others).stdout
    assert check("keys create", json.loads(document))["key"] is None


def test_keys_are_long_random_and_one_word(taskq: Any) -> None:
    keys = {created(taskq, "--role", "worker")[0] for _ in range(20)}
    assert len(keys) == 20
    assert all(key.startswith("tq_") and len(key) >= 3 + 32 for key in keys)
    # As they are in a url: nothing to be percent-encoded.
    assert all(key.replace("_", "").replace("-", "").isalnum() for key in keys)


def test_a_key_that_exists_is_read_from_standard_input_alone(taskq: Any) -> None:
    outcome = taskq("keys", "hash", "--role", "worker", stdin="correct-horse-battery-staple\n")
    access = Access.of(config_of(outcome.stdout).auth)
    assert isinstance(access.admit("correct-horse-battery-staple"), Grant)
    assert outcome.stderr == ""
    assert "short key" in taskq("keys", "hash", "--role", "worker", stdin="1234").stderr
    assert taskq("keys", "hash", "--role", "worker", "on-the-command-line").exit_code == 2


@pytest.mark.parametrize("text", ["", "\n", "two words", "x" * 501])
def test_what_is_no_key_is_refused(taskq: Any, text: str) -> None:
    outcome = taskq("keys", "hash", "--role", "worker", stdin=text)
    assert (outcome.exit_code, outcome.stdout) == (1, "")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--role", "root"],
        ["--role", "admin", "--name", "two words"],
        ["--role", "admin", "--queues", ""],
    ],
)
def test_rights_are_asked_for_and_checked(taskq: Any, options: list[str]) -> None:
    outcome = taskq("keys", "create", *options)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
