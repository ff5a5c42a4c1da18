"""Generated pages are those that the sources make: after a change, `make docs`."""

from pathlib import Path

import pytest

import taskq
from taskq.app import reference
from taskq.protocol import page
from taskq.protocol.page_fields import MEANINGS, meaning_of
from taskq.registry import MESSAGE_OF

DOCS = Path(__file__).parents[2] / "docs"


def test_the_protocol_page_is_up_to_date() -> None:
    found = (DOCS / "protocol.md").read_text(encoding="utf-8")
    assert found == page.render(), "docs/protocol.md is out of date: make docs"


def test_the_protocol_page_does_not_depend_on_the_run() -> None:
    assert page.render() == page.render()
    assert "0x7f" not in page.render()  # no address of an object
    assert "{" not in "".join(line for line in page.render().splitlines() if "`" not in line)


def test_a_field_without_a_meaning_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(MEANINGS, "lowest_unanswered")
    with pytest.raises(KeyError, match="lowest_unanswered"):
        page.render()


def test_no_meaning_is_left_over() -> None:
    shapes = {shape for row in MESSAGE_OF.values() for shape in (row.shape, row.reply, row.member)}
    names = {shape.__name__ for shape in shapes if shape is not None}
    for entry in MEANINGS:
        owner, _, field = entry.rpartition(".")
        if owner and owner in names:
            shape = next(each for each in shapes if each and each.__name__ == owner)
            assert meaning_of(shape, field) == MEANINGS[entry]
        assert f"`{field}`" in page.render(), f"{entry} is not on the page"


def test_the_reference_is_up_to_date() -> None:
    found = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert found == reference.render(), "docs/reference.md is out of date: make docs"


def test_the_reference_does_not_depend_on_the_run() -> None:
    assert reference.render() == reference.render()
    assert " at 0x" not in reference.render()  # no address of an object


def test_a_public_name_without_a_place_stops_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taskq, "__all__", [*taskq.__all__, "limits"])
    with pytest.raises(KeyError, match="limits"):
        reference.render()


def test_a_method_without_a_docstring_stops_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taskq.Client.submit, "__doc__", None)
    with pytest.raises(ValueError, match=r"Client\.submit has no docstring"):
        reference.render()


def test_what_the_reference_leaves_out_is_there() -> None:
    for title in reference.INSIDE:
        owner, _, key = title.partition(".")
        assert key in vars(getattr(taskq, owner)), title
