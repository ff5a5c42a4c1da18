"""examples/plain_client: the words of real texts, one of them larger than a payload may be."""

from __future__ import annotations

import re
from collections import Counter

from tests.integration.examples.conftest import ROOT, Example

# Of a broker's default settings. Bytes.
PAYLOAD_SIZE_MAX = 1024 * 1024
PAGES = ["docs/client.md", "docs/protocol.md", "DESIGN.md"]


def words_of(text: str) -> Counter[str]:
    """The words as the example counts them, by other means."""
    stripped = (re.sub(r"^[.,;:!?()\[\]\"']+|[.,;:!?()\[\]\"']+$", "", one) for one in text.split())
    return Counter(word.lower() for word in stripped if word)


def test_the_words_of_all_files_are_counted(example: Example) -> None:
    texts = {page.rpartition("/")[2]: (ROOT / page).read_text("utf-8") for page in PAGES}
    # Letters of two bytes: a cut in the middle of one would be seen.
    texts["large.txt"] = "".join(f"Größe {number} für Übermut,\n" for number in range(50_000))
    assert len(texts["large.txt"].encode()) > PAYLOAD_SIZE_MAX
    for name, text in texts.items():
        (example.folder / name).write_text(text, "utf-8")
    (example.folder / "picture.txt").write_bytes(bytes(range(256)))
    example.up()
    worker = example.start(example.command("python worker.py"))

    command = example.command("python count_files.py").split()[:2]
    shown, reasons = example.run(" ".join([*command, *texts, "picture.txt"]), code=1)

    total = sum(map(words_of, texts.values()), Counter[str]())
    frequent = sorted(total.items(), key=lambda one: (-one[1], one[0]))[:10]
    *table, summary = shown.splitlines()
    assert [line.split() for line in table] == [[str(count), word] for word, count in frequent]
    assert summary == f"{total.total()} words in {len(texts)} files"
    (reason,) = reasons.splitlines()
    assert reason.startswith("picture.txt: UnicodeDecodeError: 'utf-8' codec can't decode byte")

    worker.stop()
    completed = re.search(r"(\d+) completed, 1 failed", worker.log)
    assert completed is not None, worker.log
    assert int(completed[1]) > len(texts)  # the large one took several tasks
