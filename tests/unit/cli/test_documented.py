"""The page about the documents of `--json` names every command, and tells shapes apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.documented import SAMPLES, check, differences
from tests.unit.cli.test_every_command import ALL, WITHOUT_JSON


def test_every_command_has_its_document_on_the_page() -> None:
    assert set(SAMPLES) == set(ALL) - WITHOUT_JSON


@pytest.mark.parametrize(
    ("sample", "actual", "fits"),
    [
        ({"a": 1}, {"a": 2.5}, True),
        ({"a": 1}, {"a": None}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"ID": "x"}, {"7": "y", "8": "z"}, True),
        ({"ID": "x"}, {"7": 1}, False),
        ([{"a": 1}], [{"a": 1}, {"b": 1}], False),
        ([{"a": 1}], [], True),
        ([{"a": 1}], {}, False),
    ],
)
def test_what_fits_a_sample(sample: Any, actual: Any, fits: bool) -> None:
    assert (list(differences(sample, actual, "")) == []) is fits


@pytest.mark.parametrize("arguments", [["config"], ["config", "--check"], ["completion", "zsh"]])
def test_documents_that_need_no_cluster(arguments: list[str], taskq: Any) -> None:
    check(arguments[0], json.loads(taskq(*arguments, "--json").stdout))


def test_documents_of_keys(taskq: Any) -> None:
    rights = ("--role", "producer", "--queues", "mail.*", "--name", "mailer", "--json")
    made = json.loads(taskq("keys", "create", *rights).stdout)
    check("keys create", made)
    known = json.loads(taskq("keys", "hash", *rights, stdin=made["key"] + "\n").stdout)
    assert check("keys hash", known)["entry"] == made["entry"]
