"""Puts pictures of one height side by side: the quickstart's picture of predictions.

    python scripts/montage.py OUT.jpg PICTURE [PICTURE ...]

Each picture is scaled to the same height.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

HEIGHT, GAP = 320, 8  # pixels
QUALITY = 85
FORMATS = ("PNG", "JPEG")


def montage(pictures: list[Image.Image]) -> Image.Image:
    """Returns the pictures in a row on white, each scaled to `HEIGHT`."""
    scaled = [
        picture.convert("RGB").resize(
            (round(picture.width * HEIGHT / picture.height), HEIGHT),
            Image.Resampling.LANCZOS,
        )
        for picture in pictures
    ]
    width = sum(picture.width for picture in scaled) + GAP * (len(scaled) - 1)
    row, left = Image.new("RGB", (width, HEIGHT), "white"), 0
    for picture in scaled:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


def main(words: list[str]) -> int:
    """See the module."""
    if len(words) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    out, *files = words
    pictures = [Image.open(file, formats=FORMATS) for file in files]
    montage(pictures).save(Path(out), quality=QUALITY)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
