"""The API key of a client: in the url, else in `TASKQ_API_KEY`, which may name a file (`@FILE`).

A file is read anew for each connection, so that a key can be rolled over below a running worker.
No message, log or `repr` shows a key.
"""

from __future__ import annotations

from collections.abc import Mapping

from taskq.errors import ConnectionFailed

KEY_VARIABLE = "TASKQ_API_KEY"
# What the protocol takes, in characters.
KEY_LENGTH_MAX = 500


class Credential:
    """See the module. Raises ValueError where the variable holds no key and no file that does."""

    def __init__(self, url_key: str | None, environment: Mapping[str, str]) -> None:
        self._key = url_key
        self._file = ""
        given = environment.get(KEY_VARIABLE, "").strip()
        if url_key is not None or not given:
            return
        if given.startswith("@"):
            self._file = given[1:]
            self._read()
        else:
            self._key = _checked(given, KEY_VARIABLE)

    def now(self) -> str | None:
        """The key to connect with; None: without one. Raises ConnectionFailed."""
        if not self._file:
            return self._key
        try:
            return self._read()
        except ValueError as error:
            raise ConnectionFailed(str(error)) from None

    def _read(self) -> str:
        where = f"{KEY_VARIABLE}: the file {self._file}"
        try:
            with open(self._file, encoding="ascii") as file:
                return _checked(file.read(2 * KEY_LENGTH_MAX).strip(), where)
        except OSError as error:
            raise ValueError(f"{where} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{where} holds no key") from None


def _checked(key: str, where: str) -> str:
    """A key is one word: whoever names the wrong file sends none of it."""
    if any(sign.isspace() for sign in key):
        what = "lines" if len(key.splitlines()) > 1 else "words"
        raise ValueError(
            f"{where} holds no key but several {what}: the key alone belongs there, one word"
        )
    if not key or len(key) > KEY_LENGTH_MAX:
        raise ValueError(f"{where} holds no key (one word of at most {KEY_LENGTH_MAX} characters)")
    return key
