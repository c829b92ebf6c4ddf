"""Writes the embedded data set: shapes that a small detector learns in minutes.

    OUT/images/SPLIT/000001.jpg
    OUT/annotations/instances_SPLIT.json

Boxes and polygons are those of the whole shape, also where another lies over it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from libra_tf.errors import UserError
from libra_tf.files.atomic import make_folder

SPLITS = ("train", "val")
MIN_SIZE = 32
MAX_SIZE = 4096
JPEG_QUALITY = 92


def synthesize(
    out: str | Path,
    num_train: int = 400,
    num_val: int = 60,
    size: int = 128,
    seed: int = 0,
    difficulty: str = "easy",
) -> dict[str, Any]:
    """Draws and writes the data set; equal arguments give equal files.

    A picture depends on seed, split and number alone, so the first 100 of 400 are
    those of 100.

    Args:
        out: a folder that is not there yet, or empty. It appears complete or not at
            all.
        num_train: pictures for training.
        num_val: pictures for evaluation.
        size: width and height in pixels; shapes grow with it.
        seed: number >= 0.
        difficulty: "easy" (1 to 8 shapes of 12 to 64 pixels at size 128, hardly
            overlapping), "hard" (up to 14 of 8 to 96 pixels, overlapping more, among
            more stars and lines that are no class) or "sparse" (up to 4 of those sizes
            among 8 to 16 stars and lines: most of what a detector sees is background).

    Returns:
        {"folder": ..., "splits": {split: {"num_images": n, "num_annotations": n}}}.

    Raises:
        UserError: the folder holds something, or an argument makes no sense.
    """
    from libra_tf.data.shapes import DIFFICULTIES

    out = Path(out)
    counts = dict(zip(SPLITS, (num_train, num_val), strict=True))
    _check(out, counts, size, seed, difficulty, list(DIFFICULTIES))
    make_folder(out.parent)
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(
            f"{out.parent}: cannot be written to: {error.strerror}"
        ) from error
    try:
        splits = {
            split: _write_split(
                draft, split, count, size, seed, DIFFICULTIES[difficulty]
            )
            for split, count in counts.items()
        }
        draft.chmod(0o755)
        os.replace(draft, out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return {"folder": str(out), "splits": splits}


def _check(
    out: Path,
    counts: dict[str, int],
    size: int,
    seed: int,
    difficulty: str,
    difficulties: list[str],
) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not empty; name a new folder or remove it")
    if difficulty not in difficulties:
        raise UserError(f"difficulty must be one of {', '.join(difficulties)}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"size {size} must lie in {MIN_SIZE}..{MAX_SIZE}")
    if min(counts.values()) < 1 or seed < 0:
        raise UserError("at least one picture per split, and a seed >= 0, please")


def _write_split(
    folder: Path, split: str, count: int, size: int, seed: int, difficulty: Any
) -> dict[str, int]:
    import numpy as np

    from libra_tf.data.shapes import CLASS_NAMES, draw_picture

    image_dir = folder / "images" / split
    image_dir.mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(1, count + 1):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        picture, shapes = draw_picture(rng, size, difficulty)
        name = f"{index:06d}.jpg"
        picture.save(image_dir / name, quality=JPEG_QUALITY, subsampling=0)
        images.append({"id": index, "file_name": name, "width": size, "height": size})
        for shape in shapes:
            annotations.append(_annotation(len(annotations) + 1, index, shape))
    content = {
        "info": {"description": f"libra_tf shapes, {split}, seed {seed}"},
        "categories": [
            {"id": key, "name": name} for key, name in enumerate(CLASS_NAMES, start=1)
        ],
        "images": images,
        "annotations": annotations,
    }
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return {"num_images": count, "num_annotations": len(annotations)}


def _annotation(key: int, image_id: int, shape: Any) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = shape.box.tolist()
    bbox = [xmin, ymin, round(xmax - xmin, 2), round(ymax - ymin, 2)]
    return {
        "id": key,
        "image_id": image_id,
        "category_id": shape.class_id,
        "bbox": bbox,
        "area": round(shape.area, 2),
        "iscrowd": 0,
        "segmentation": [shape.polygon.ravel().tolist()],
    }
