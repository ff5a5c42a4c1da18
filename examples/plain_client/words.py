"""The work: plain functions of bytes. `taskq worker words:count_words --queue words` runs it."""

from __future__ import annotations

import json
from collections import Counter

import taskq


@taskq.raw  # gets the payload as it was submitted, and what it returns is the result
def count_words(text: bytes) -> bytes:
    """How often each word of a UTF-8 text occurs in it, as a JSON object; capitals do not matter.

    Raises UnicodeDecodeError for what is no text.
    """
    words = (word.strip(".,;:!?()[]\"'").lower() for word in text.decode().split())
    counts = Counter(word for word in words if word)
    return json.dumps(counts, ensure_ascii=False).encode()
