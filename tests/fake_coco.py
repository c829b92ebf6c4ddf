"""COCO annotations and detections that look like a real detector's, drawn by a seed."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

NAMES = {1: "cell", 2: "plate <b>", 5: "rare", 9: "never annotated"}
WIDTH, HEIGHT = 200, 160
COLORS = {1: (200, 60, 60), 2: (60, 160, 60), 5: (60, 60, 200)}


def fake_coco(num_images=20, seed=0, crowds=True):
    """Returns annotations with crowds, empty images and a class without objects."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(1, num_images + 1):
        images.append(
            {"id": 10 * number, "file_name": f"{number}.png", "width": WIDTH,
             "height": HEIGHT}
        )  # fmt: skip
        for _ in range(0 if number == 3 else rng.integers(2, 7)):
            width, height = rng.uniform(8, 130, 2)
            x, y = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 * number,
                    "category_id": int(rng.choice([1, 2, 5], p=[0.6, 0.35, 0.05])),
                    "bbox": [float(v) for v in (x, y, width, height)],
                    "area": float(width * height),
                    "iscrowd": int(crowds and rng.random() < 0.1),
                }
            )
    categories = [{"id": i, "name": name} for i, name in NAMES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def fake_detections(truth, seed=1, noise=5.0):
    """Returns objects that were found by and large, in no order, and some that are not.

    Scores have few values, so that there are ties.
    """
    rng = np.random.default_rng(seed)
    found = []
    for annotation in truth["annotations"]:
        for _ in range(rng.choice([0, 1, 2], p=[0.15, 0.75, 0.1])):
            box = np.array(annotation["bbox"]) + rng.normal(0, noise, 4)
            box[2:] = np.maximum(box[2:], 1)
            right = rng.random() < 0.9
            found.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": annotation["category_id"] if right else 2,
                    "bbox": [float(v) for v in box],
                    "score": float(np.round(rng.beta(4, 2), 2)),
                }
            )
    for image in truth["images"]:
        for category in (1, 9):
            found.append(
                {
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [float(v) for v in rng.uniform(5, 60, 4)],
                    "score": float(np.round(rng.beta(2, 3), 2)),
                }
            )
    return [found[k] for k in rng.permutation(len(found))]


def draw_images(truth, folder):
    """Writes the images that the annotations are of."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in truth["images"]:
        picture = Image.new("RGB", (image["width"], image["height"]), (128, 128, 128))
        draw = ImageDraw.Draw(picture)
        for annotation in truth["annotations"]:
            if annotation["image_id"] == image["id"]:
                x, y, width, height = annotation["bbox"]
                color = COLORS[annotation["category_id"]]
                draw.ellipse((x, y, x + width, y + height), fill=color)
        picture.save(folder / image["file_name"])
