"""The page `README.md`, made from the table of models: `python -m chaos.models.page`."""

from __future__ import annotations

from pathlib import Path

from chaos.models.verdict import TOPICS, Topic

PAGE = Path(__file__).with_name("README.md")

HEAD = """\
# Models of the rules of replication

Made from the files beside it by `python -m chaos.models.page > chaos/models/README.md`.

Each file is a small model: states, the steps between them, and what may never be so. A search
visits every state within the bound, nearest first. The rule as worded must come through and must
have seen all that the model is about (elections, cuts, losses ...); every unsafe wording must be
caught, with a shortest trace to the breach. The tests run all of it.

    python -m chaos.models                      # all, as a table
    python -m chaos.models append --traces      # one, with the traces of the unsafe wordings
    python -m chaos.models --wider 1 --states 5000000    # a longer run: wider bounds

A model says nothing about the code. It says that the wording, which the code names and its tests
and the simulator check, leaves no hole within the bound. Change a rule only with its model.
"""


def render() -> str:
    """The whole page."""
    rows = ["| rules | model | unsafe wordings caught |", "|---|---|---|"]
    for topic in TOPICS:
        count = len(topic.wordings) - 1
        rows.append(f"| {topic.rules} | [{topic.name}](#{topic.name}) | {count} |")
    return "\n".join([HEAD, *rows, "", *(_section(topic) for topic in TOPICS)])


def _section(topic: Topic) -> str:
    _, *paragraphs = topic.sentences
    title = topic.sentences[0]
    _, *unsafe = topic.wordings
    lines = [f"## {topic.name}", "", f"`{topic.name}.py`: {title}", ""]
    for paragraph in paragraphs:
        lines += [paragraph, ""]
    lines += ["Unsafe, and caught:", "", *(f"- {wording}" for wording in unsafe), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(render(), end="")
