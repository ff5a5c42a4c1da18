"""`taskq repair --skip-entry`: has a stopped node leave out an entry that stops every node."""

from __future__ import annotations

from pathlib import Path

from taskq.cli.command import Failure
from taskq.cli.output import ask, note, print_json, print_text
from taskq.machine.entry import UnreadableEntry, decode_entry


def skip_entry(folder: Path, index: int, *, accepted: bool, as_json: bool) -> None:
    """Shows the entry, asks, and has it left out. Raises Failure, StorageError."""
    from cluster.storage.skipping import add_skip, find_entry

    found = find_entry(folder, index)
    content = _content(found.entry)
    if not as_json:
        print_text(
            f"Entry {index}, term {found.term}, {len(found.entry)} bytes, checksum "
            f"{found.checksum:08x}: {content}"
        )
    if not accepted:
        note("What it holds is lost, though it was acknowledged or may have been. The other nodes")
        note("must skip the same entry, with the same checksum, before they are started.")
        if not ask(f"Skip entry {index} on this node?"):
            raise Failure("Nothing was changed; --accept-loss skips it without asking.")
    add_skip(folder, found)
    if as_json:
        checksum = f"{found.checksum:08x}"
        print_json({"index": index, "term": found.term, "checksum": checksum, "content": content})
    else:
        print_text(f"This node leaves entry {index} out from its next start on.")


def _content(entry: bytes) -> str:
    try:
        return ", ".join(type(command).__name__ for command in decode_entry(entry)[2]) or "nothing"
    except UnreadableEntry as error:
        return str(error)
