"""`python -m deploy.harness`: exercises of the rendered manifests, on this machine."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import click

from chaos.live.stamp import stamp
from deploy.harness.exercises import EXERCISES
from deploy.harness.record import append, row_of, write_page
from deploy.harness.rendering import no_kubectl
from deploy.harness.trial import Trial, carry_out

# As .ci/image names it, and as the overlays do.
IMAGE = "taskq"
OVERLAY = "development"


@click.command()
@click.option("--list", "listed", is_flag=True, help="Every exercise, and nothing else.")
@click.option("--page", is_flag=True, help="Make the table of the kept results, nothing else.")
@click.option("--exercise", "names", multiple=True, type=click.Choice(list(EXERCISES)))
@click.option("--overlay", default=OVERLAY, show_default=True)
@click.option("--image", default=IMAGE, show_default=True, help="Run for the image `taskq`.")
@click.option("--seed", type=int, help="Of the load.")
@click.option("--keep/--no-keep", default=True, help="Append to deploy/k8s/results.jsonl.")
@click.option("--json", "as_json", is_flag=True, help="Each result as one line of JSON.")
def main(
    listed: bool,
    page: bool,
    names: tuple[str, ...],
    overlay: str,
    image: str,
    seed: int | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Run exercises (all, unless some are named), each on new pods, under load.

    Exit code 1: a promise was broken; folders and history are kept.
    """
    if listed:
        for name, exercise in EXERCISES.items():
            print(f"{name}: {exercise.told}")
        return
    if page:
        write_page()
        return
    missing = no_kubectl()
    if missing:
        raise click.ClickException(missing)
    # At once: a module that is loaded late, from a tree that has changed since, is not this run.
    stamp()
    gc.disable()  # a full collection of the history would stop the probe for 0.1 s
    broken = 0
    for name in names or EXERCISES:
        chosen = random.SystemRandom().randrange(2**32) if seed is None else seed
        broken += not _run(name, overlay, image, chosen, keep=keep, as_json=as_json)
        gc.collect()
    sys.exit(1 if broken else 0)


def _run(name: str, overlay: str, image: str, seed: int, *, keep: bool, as_json: bool) -> bool:
    """Whether all promises were kept."""
    home = Path(tempfile.mkdtemp(prefix="taskq-pods-"))
    home.chmod(0o755)
    trial = Trial(EXERCISES[name], overlay, image, home, seed)
    try:
        asyncio.run(carry_out(trial))
    except OSError as error:
        raise click.ClickException(str(error)) from error
    row = row_of(trial)
    if keep:
        append(row)
    print(json.dumps(row, sort_keys=True) if as_json else _told(row), flush=True)
    if not trial.verdict.violations:
        shutil.rmtree(home)
        return True
    for line in trial.verdict.violations[:20]:
        print(line, file=sys.stderr)
    trial.history.save(home / "history.jsonl.gz")
    print(f"The folders and the history are kept in {home}.", file=sys.stderr)
    return False


def _told(row: dict[str, object]) -> str:
    names = ("took", "gap", "failed", "lost", "doubled", "rules", "load_average")
    numbers = ", ".join(f"{name} {row[name]}" for name in names)
    return f"{row['exercise']} of {row['overlay']} (seed {row['seed']}): {numbers}"


if __name__ == "__main__":
    main()
