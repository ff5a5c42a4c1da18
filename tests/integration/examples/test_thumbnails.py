"""examples/thumbnails on pictures of several kinds, two of which are broken."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

import taskq
from tests.integration.examples.conftest import Example

SIDE = 200
RED, BLUE = (220, 30, 30), (30, 30, 220)
# The orientation of a camera that was held upright: turn by 90 degrees to see it as it was.
TURNED = 6


def draw(path: Path, size: tuple[int, int], mode: str = "RGB", turned: bool = False) -> None:
    """A picture of noise whose left third is red and whose right third is blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    noise = random.Random(path.name).randbytes(width * height * 3)
    image = Image.frombytes("RGB", size, noise)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, width // 3, height), RED)
    pen.rectangle((width - width // 3, 0, width, height), BLUE)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = TURNED
    image.convert(mode).save(path, exif=exif)


def near(color: object, wanted: tuple[int, int, int]) -> bool:
    """Whether two colors look the same; JPEG and WebP change them a little."""
    assert isinstance(color, tuple)
    return all(abs(one - other) < 40 for one, other in zip(color[:3], wanted, strict=True))


def test_each_picture_gets_its_thumbnail_and_broken_ones_say_why(example: Example) -> None:
    pictures, small = example.folder / "pictures", example.folder / "small"
    draw(pictures / "beach.jpg", (600, 400))
    draw(pictures / "hills" / "alps.webp", (300, 900))
    draw(pictures / "hills" / "icon.png", (60, 40), mode="RGBA")
    draw(pictures / "turned.JPG", (600, 400), turned=True)
    draw(pictures / "cut.jpg", (600, 400))
    whole = (pictures / "cut.jpg").read_bytes()
    (pictures / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (pictures / "a-text.png").write_text("I am no picture.")  # the first of all
    before = {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()}

    example.up()
    example.start(example.command("taskq worker"))
    shown, reasons = example.run(example.command("python make_thumbnails.py"), code=1)

    assert shown.splitlines() == [
        "[2/6] pictures/beach.jpg: 200 x 133",
        "[4/6] pictures/hills/alps.webp: 67 x 200",
        "[5/6] pictures/hills/icon.png: 60 x 40",
        "[6/6] pictures/turned.JPG: 133 x 200",
        "4 thumbnails, 2 failed",
    ]
    text, cut = reasons.splitlines()
    assert text.startswith("[1/6] pictures/a-text.png: PIL.UnidentifiedImageError: cannot identify")
    assert cut.startswith("[3/6] pictures/cut.jpg: OSError: image file is truncated")
    made = {str(path.relative_to(small)) for path in small.rglob("*") if path.is_file()}
    assert made == {"beach.jpg", "hills/alps.webp", "hills/icon.png", "turned.JPG"}
    with Image.open(small / "beach.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (SIDE, 133))
        assert near(image.getpixel((20, 66)), RED)
        assert near(image.getpixel((180, 66)), BLUE)
    with Image.open(small / "turned.JPG") as image:  # what was left is at the top
        assert near(image.getpixel((66, 20)), RED)
        assert near(image.getpixel((66, 180)), BLUE)
    with Image.open(small / "hills" / "icon.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGBA")
    assert before == {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()}

    # What failed waits as a dead letter until its picture is mended.
    (pictures / "cut.jpg").write_bytes(whole)
    with taskq.Client(example.url) as client:
        (mended,) = [task for task in client.dead(queue="thumbnails") if "truncated" in task.error]
        assert str(mended.id) in example.run(example.command("taskq dead list"))[0]
        example.run(example.command("taskq dead redrive").replace("ID", str(mended.id)))
        client.result(mended.id, timeout=30)
    with Image.open(small / "cut.jpg") as image:
        assert image.size == (SIDE, 133)
