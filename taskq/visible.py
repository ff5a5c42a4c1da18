"""Text that others wrote, for a terminal: what would steer it is shown instead.

A name, a header or an error may hold any character. To a terminal the controls among them are
orders: C0 and DEL (ECMA-48, 5.2), and C1, which a terminal takes for escape sequences of one
character (5.3). Line ends and tabs stay.
"""

from __future__ import annotations

_STEERING = [code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"]
_SHOWN = {code: f"\\x{code:02x}" for code in _STEERING}
_IN_JSON = {code: f"\\u{code:04x}" for code in _STEERING}


def visible(text: str) -> str:
    """The text with each control as `\\x1b` and the like."""
    return text.translate(_SHOWN)


def visible_json(document: str) -> str:
    """A JSON document that means the same; controls can be in its strings alone."""
    return document.translate(_IN_JSON)
