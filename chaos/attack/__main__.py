"""`python -m chaos.attack`: attacks running clusters and keeps the table. `make attack` runs it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from chaos.attack import page
from chaos.attack.rows import ROWS
from chaos.attack.run import run
from chaos.attack.scene import Amount
from chaos.record import append

SECURITY = Path(__file__).parents[2] / "SECURITY.md"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", default=2.0, show_default=True, help="Of noise on every port.")
@click.option("--crowd", default=10_000, show_default=True, help="Connections that say nothing.")
@click.option("--tries", default=300, show_default=True, help="Of each kind.")
@click.option("--only", "names", multiple=True, metavar="ROW", help="Rows to do; all without.")
@click.option("--short", is_flag=True, help="What CI has time for: seconds; rows beside others.")
@click.option("--home", metavar="FOLDER", help="Keeps the nodes' folders and logs there.")
@click.option("--no-keep", is_flag=True, help="Prints the table and keeps nothing.")
def main(
    minutes: float,
    crowd: int,
    tries: int,
    names: tuple[str, ...],
    short: bool,
    home: str | None,
    no_keep: bool,
) -> None:
    """Tries to get into running clusters, on every port, and measures what that costs them.

    Ends with 1 where somebody was let in, or a node was not as before.
    """
    unknown = set(names) - {row.name for row in ROWS}
    if unknown:
        known = ", ".join(row.name for row in ROWS)
        raise click.UsageError(f"no row {', '.join(sorted(unknown))}; there are: {known}")
    rows = [row for row in ROWS if not names or row.name in names]
    amount = Amount(minutes * 60, crowd, tries)
    if short:
        amount = SHORT
    with tempfile.TemporaryDirectory(prefix="taskq-attack-") as scratch:
        told = asyncio.run(run(Path(home or scratch), rows, amount, beside=short))
    click.echo("\n".join(page.table(told)))
    wrong = page.wrong(told)
    for row in told["rows"]:
        click.echo(f"{row['name']}: {row['secs']:g} s, {row['whys']}", err=True)
    for line in wrong:
        click.echo(line, err=True)
    if not no_keep and not names:
        append("attacks", told)
        page.write(SECURITY, told)
    sys.exit(1 if wrong else 0)


# A test does so much: every row, seconds.
SHORT = Amount(noise_secs=2.0, crowd=1_500, tries=20)


if __name__ == "__main__":
    main()
