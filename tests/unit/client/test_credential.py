"""Where a client's key comes from; that it is read anew, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq.client.credential import KEY_VARIABLE, Credential
from taskq.errors import ConnectionFailed


def test_the_url_wins_then_the_environment_then_none() -> None:
    given = {KEY_VARIABLE: " of-the-environment\n"}
    assert Credential("of-the-url", given).now() == "of-the-url"
    assert Credential(None, given).now() == "of-the-environment"
    assert Credential(None, {}).now() is None
    assert Credential(None, {KEY_VARIABLE: ""}).now() is None


def test_a_file_is_read_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    credential = Credential(None, {KEY_VARIABLE: f"@{file}"})
    assert credential.now() == "first"
    file.write_text("second\n")
    assert credential.now() == "second"
    file.unlink()
    with pytest.raises(ConnectionFailed, match="No such file"):
        credential.now()


@pytest.mark.parametrize("text", ["", "\n", "-----BEGIN PRIVATE KEY-----\nsecret", "x" * 501, "é"])
def test_a_file_that_holds_no_key_is_named_and_none_of_it_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="holds no key") as raised:
        Credential(None, {KEY_VARIABLE: f"@{file}"})
    assert "secret" not in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_file_with_more_than_the_key_is_told_apart(tmp_path: Path) -> None:
    """As of `taskq keys create > file`, which has the entry, too."""
    file = tmp_path / "key"
    file.write_text("tq_secret\n- {role: admin}\n")
    with pytest.raises(ValueError, match="several lines: the key alone belongs there") as raised:
        Credential(None, {KEY_VARIABLE: f"@{file}"})
    assert "secret" not in str(raised.value)
    with pytest.raises(ValueError, match="several words: the key alone belongs there"):
        Credential(None, {KEY_VARIABLE: "two words"})


def test_a_variable_that_holds_no_key_is_not_shown() -> None:
    with pytest.raises(ValueError, match="holds no key") as raised:
        Credential(None, {KEY_VARIABLE: "two words"})
    assert "two" not in str(raised.value)


def test_no_key_is_in_a_repr() -> None:
    assert "of-the-url" not in repr(Credential("of-the-url", {}))
