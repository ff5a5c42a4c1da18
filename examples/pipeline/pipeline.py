"""A pipeline of two stages: what comes out of the first is submitted to the second.

    python pipeline.py FOLDER

    files --> list_functions --> queue of sources --> measure --> total
              FILES_AHEAD        SOURCES_AHEAD        MEASURED_AHEAD

Each arrow is bounded: where the second stage is slow, the queue fills, and the first waits. So
memory here and tasks in the cluster stay few, however large the folder is. Prints the total at the
end; ends with 1 if a file or a function failed.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from stages import list_functions, measure

import taskq

# Tasks of each stage that are submitted and have not ended.
FILES_AHEAD = 4
MEASURED_AHEAD = 32
# Sources that wait here for the second stage.
SOURCES_AHEAD = 100


class Pipeline:
    """One run over some files. `total` and `failed` grow while it runs."""

    def __init__(self, files: Iterator[Path]) -> None:
        self.total: Counter[str] = Counter()
        self.failed: list[str] = []
        self._files = files
        self._sources: asyncio.Queue[str | None] = asyncio.Queue(SOURCES_AHEAD)

    async def run(self) -> None:
        """Returns when every file and every function of it has been measured or has failed.

        Raises TaskqError where the cluster takes no tasks; everything else ends then, too.
        """
        async with asyncio.TaskGroup() as both:
            both.create_task(self._first_stage())
            for _ in range(MEASURED_AHEAD):
                both.create_task(self._measure())

    async def _first_stage(self) -> None:
        async with asyncio.TaskGroup() as listing:
            for _ in range(FILES_AHEAD):
                listing.create_task(self._list())
        for _ in range(MEASURED_AHEAD):
            await self._sources.put(None)  # there is no more

    async def _list(self) -> None:
        for path in self._files:  # shared: each file goes to whoever is free
            try:
                handle = await list_functions.submit_async(str(path.resolve()))
                sources = await handle
            except taskq.TaskError as error:
                self._failed(f"{path}", error)
                continue
            self.total["files"] += 1
            for source in sources:
                await self._sources.put(source)

    async def _measure(self) -> None:
        while (source := await self._sources.get()) is not None:
            try:
                handle = await measure.submit_async(source)
                self.total.update(await handle)
            except taskq.TaskError as error:
                self._failed(source.partition("\n")[0], error)

    def _failed(self, what: str, error: taskq.TaskError) -> None:
        self.failed.append(f"{what}: {error.message.splitlines()[-1]}")


def main() -> int:
    folder = Path(sys.argv[1])
    pipeline = Pipeline(path for path in sorted(folder.rglob("*.py")) if path.is_file())
    asyncio.run(pipeline.run())
    for line in pipeline.failed:
        print(line, file=sys.stderr)
    print(
        "{files} files, {functions} functions, {lines} lines, {branches} branches".format_map(
            pipeline.total
        )
    )
    return 1 if pipeline.failed else 0


if __name__ == "__main__":
    sys.exit(main())
