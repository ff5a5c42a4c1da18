"""The tasks: each makes the thumbnail of one picture. `taskq worker thumbnails:app` runs them."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from PIL import Image, ImageOps

import taskq

app = taskq.App(queue="thumbnails")


# One retry: a disk that was full may have room again. What fails twice is kept as a dead letter,
# and `taskq dead redrive` runs it again when the picture has been mended.
@app.task(timeout=60, max_retries=1, backoff=0.5)
def make_thumbnail(picture: str, thumbnail: str, side: int) -> dict[str, int]:
    """Writes a picture again, at most `side` pixels wide and high; returns the new size.

    A second run does no harm: the file appears whole under its name, or not at all, and the same
    picture gives the same file. Raises OSError where the picture cannot be read or written.
    """
    target = Path(thumbnail)
    part = target.with_name(f".{target.name}.{uuid4().hex}")
    with Image.open(picture) as image:
        kind = image.format
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail((side, side))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            upright.save(part, kind)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return {"width": upright.width, "height": upright.height, "size": target.stat().st_size}
