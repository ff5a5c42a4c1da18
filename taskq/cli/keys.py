"""`taskq keys`: makes API keys, and the entries by which a broker knows them. Talks to nobody."""

from __future__ import annotations

import json
import re
import secrets
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from taskq.cli.command import CommandGroup, Failure, Function, json_option
from taskq.cli.output import note, print_json, print_text
from taskq.cli.private_file import write_private
from taskq.limits import NAME_PATTERN

ROLES = ("producer", "worker", "admin")
# So that people and scanners of repositories see what it is.
PREFIX = "tq_"
# Bytes of chance in a key: 192 bits. Nobody guesses that, so that a plain hash of it can be kept.
RANDOM_SIZE = 24
# A key that somebody else made and that is shorter may be guessed from its hash. Characters.
LENGTH_SAFE = 22
# What the protocol takes.
LENGTH_MAX = 500
# As in the configuration of the broker.
_NAME = re.compile(NAME_PATTERN)
_QUEUES_SIZE_MAX = 200


def _name(_context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _NAME.fullmatch(value):
        raise click.BadParameter("allowed are 1 to 64 of A-Z a-z 0-9 . _ -", param=option)
    return value


def _queues(_context: click.Context, option: click.Parameter, value: str) -> str:
    if not 0 < len(value) <= _QUEUES_SIZE_MAX:
        raise click.BadParameter(f"allowed are 1 to {_QUEUES_SIZE_MAX} characters", param=option)
    return value


def _rights(function: Function) -> Function:
    """Adds what a key may do: `role`, `queues` and `name`."""
    role = click.option(
        "--role",
        type=click.Choice(ROLES),
        required=True,
        help="producer: submits, cancels, looks. worker: claims and ends tasks. admin: all.",
    )
    queues = click.option(
        "--queues",
        metavar="PATTERN",
        default="*",
        show_default=True,
        callback=_queues,
        help="Only these queues: a pattern of names, such as 'mail.*'.",
    )
    name = click.option("--name", callback=_name, help="What logs call the key.")
    return role(queues(name(function)))


def hash_of(key: str) -> str:
    """What the configuration holds of a key."""
    return f"sha256:{sha256(key.encode()).hexdigest()}"


def entry_of(digest: str, role: str, queues: str, name: str | None) -> dict[str, str]:
    """The entry for `auth.api_keys`."""
    named = {} if name is None else {"name": name}
    return {**named, "role": role, "queues": queues, "hash": digest}


def as_yaml(entry: dict[str, str]) -> str:
    """An entry as an item of a list in YAML."""
    return "- {" + ", ".join(f"{key}: {json.dumps(text)}" for key, text in entry.items()) + "}"


@click.group("keys", cls=CommandGroup)
def keys_command() -> None:
    """Make API keys for auth.api_keys."""


@keys_command.command("create")
@_rights
@click.option(
    "--key-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the key into a new FILE, for you alone to read, instead of printing it.",
)
@json_option
def create_key(
    role: str, queues: str, name: str | None, key_file: Path | None, as_json: bool
) -> None:
    """Make a key: print it, once, and its entry for the configuration.

    The key goes to whoever connects (TASKQ_API_KEY, or TASKQ_URL), the entry to auth.api_keys of
    every node. The entry holds a hash: it is no secret that opens anything.
    """
    key = PREFIX + secrets.token_urlsafe(RANDOM_SIZE)
    entry = entry_of(hash_of(key), role, queues, name)
    if key_file is not None:
        write_private(key_file, f"{key}\n".encode())
    if as_json:
        print_json({"key": None if key_file is not None else key, "entry": entry})
        return
    if key_file is None:
        note("The key, shown this once:")
        print_text(key)
    else:
        note(f"The key is in {key_file}: TASKQ_API_KEY=@{key_file}")
    note("Its entry for auth.api_keys of every node, where auth.enabled is true:")
    print_text(as_yaml(entry))


@keys_command.command("hash")
@_rights
@json_option
def hash_key(role: str, queues: str, name: str | None, as_json: bool) -> None:
    """Print the entry for a key that exists.

    The key is read from standard input, or asked for at a terminal: everybody on the machine can
    read a command line.
    """
    entry = entry_of(hash_of(_read_key()), role, queues, name)
    _answer({"entry": entry}, as_yaml(entry), as_json)


def _answer(document: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        print_text(text)


def _read_key() -> str:
    if sys.stdin.isatty():
        key: str = click.prompt("Key", hide_input=True, err=True)
    else:
        key = sys.stdin.read(2 * LENGTH_MAX).strip()
    if not key or any(sign.isspace() for sign in key):
        raise Failure("A key is one word; nothing, or several words, came on standard input.")
    if len(key) > LENGTH_MAX:
        raise Failure(f"A key has at most {LENGTH_MAX} characters.")
    if len(key) < LENGTH_SAFE:
        note("Warning: a short key can be guessed from its hash; `taskq keys create` makes one.")
    return key
