"""COCO annotations, as `libra data convert --annotations` reads them."""

import argparse
import copy
import json
import shutil
from pathlib import Path

import small_sets

from fuzzing.mutate import change_bytes, change_tree

_LONG = "a/" * 3000


def _set(part, number, **fields):
    return lambda content: content[part][number].update(fields)


FOUND = {
    "a box of thousands": _set("annotations", 3, bbox=[1, 2, 3, [1] * 2000]),
    "a class of thousands": _set("annotations", 2, category_id=[1] * 2000),
    "a long text for a number": _set("annotations", 2, iscrowd=_LONG),
    "a long id": _set("annotations", 2, id=_LONG),
}


class Coco:
    """A file beside three pictures; the folder to write to may hold another split."""

    lists_faults = True

    def __init__(self, folder):
        self.folder = Path(folder)
        self.images = self.folder / "images"
        self.content = small_sets.coco(self.images)
        self.content["info"] = {"year": 2024}
        for each in self.content["annotations"][:2]:
            x, y, w, h = each["bbox"]
            each["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        side = [small_sets.HEIGHT, small_sets.WIDTH]
        runs = {"size": side, "counts": [40, 30, side[0] * side[1] - 70]}
        self.content["annotations"][2]["segmentation"] = runs
        self.file, self.out = self.folder / "a.json", self.folder / "out"
        self.kept = [self.out]
        # The other split, which the changed one must agree with.
        self.before, self.has_other = self.folder / "before", False
        self.save(json.dumps(self.fresh()).encode())
        self._convert("val", self.before)

    def fresh(self):
        return copy.deepcopy(self.content)

    def generate(self, rng):
        self.has_other = rng.random() < 0.2
        content = change_tree(rng, self.fresh())
        data = json.dumps(content, ensure_ascii=rng.random() < 0.5)
        data = data.encode("utf-8", "surrogatepass")
        return change_bytes(rng, data) if rng.random() < 0.2 else data

    def save(self, content):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.file.write_bytes(content)

    def uses(self):
        shutil.rmtree(self.out, ignore_errors=True)
        if self.has_other:
            shutil.copytree(self.before, self.out)
        yield lambda: self._convert("train", self.out)

    def _convert(self, split, out):
        convert(
            "--images", self.images, "--annotations", self.file, "--split", split,
            "--out", out,
        )  # fmt: skip


def convert(*words):
    """Runs `libra data convert` with the verb's own parser."""
    from libra_tf.commands import data_convert

    parser = argparse.ArgumentParser()
    data_convert.add_arguments(parser)
    data_convert.run(parser.parse_args([*map(str, words), "--workers", "1"]))
