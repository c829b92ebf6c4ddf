"""Small data sets without any finding, for tests that spoil one thing in them."""

import copy
import json

import numpy as np
from PIL import Image

from libra_tf.data.rules import RULES

WIDTH, HEIGHT = 40, 30
BOXES = (
    ((1, [1, 2, 10, 8]), (2, [20, 10, 7, 9])),
    ((1, [5, 5, 12, 6]), (2, [2, 15, 9, 10])),
    ((1, [25, 3, 8, 8]), (2, [10, 12, 15, 11])),
)


def is_said(rule, text):
    """Whether a text has the words of a rule, for one thing or for many."""
    return any(RULES[rule].said(count) in text for count in (1, 2))


def picture(path, seed):
    """Writes a picture of noise, another for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def coco(folder, seed=0):
    """Writes three pictures `1.png`... and returns their COCO annotations."""
    images, annotations = [], []
    for key, objects in enumerate(BOXES, start=1):
        picture(folder / f"{key}.png", (seed, key))
        images.append(
            {"id": key, "file_name": f"{key}.png", "width": WIDTH, "height": HEIGHT}
        )
        for category, box in objects:
            record = {"id": len(annotations) + 1, "image_id": key, "iscrowd": 0}
            record |= {"category_id": category, "bbox": list(box)}
            annotations.append(record | {"area": box[2] * box[3]})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"categories": categories, "images": images, "annotations": annotations}


def write(folder, content, name="a.json"):
    """Writes annotations beside the pictures; returns the file."""
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def voc(folder):
    """Writes the same as a Pascal VOC folder."""
    content = copy.deepcopy(coco(folder / "JPEGImages"))
    names = {c["id"]: c["name"] for c in content["categories"]}
    (folder / "Annotations").mkdir()
    for image in content["images"]:
        objects = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        text = "".join(_object(names[a["category_id"]], a["bbox"]) for a in objects)
        name, size = image["file_name"], f"<width>{WIDTH}</width>"
        size += f"<height>{HEIGHT}</height>"
        xml = f"<annotation><filename>{name}</filename><size>{size}</size>{text}"
        path = folder / "Annotations" / f"{image['id']}.xml"
        path.write_text(f"{xml}</annotation>")
    return folder


def _object(name, box):
    x, y, width, height = box
    sides = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides.items())
    return f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
