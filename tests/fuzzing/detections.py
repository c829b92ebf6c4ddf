"""Saved detections and their annotations, as `libra eval --detections` reads them."""

import argparse
import copy
import json
import shutil
from pathlib import Path

import numpy as np
import small_sets

from fuzzing.coco import Coco
from fuzzing.mutate import change_bytes, change_tree


def _found(**fields):
    return _changed("d.json", lambda content: content[0], fields)


def _truth(part, **fields):
    return _changed("a.json", lambda content: content[part][0], fields)


def _changed(name, choose, fields):
    def change(content):
        choose(content[name]).update(fields)
        content["iou_type"] = "segm"

    return change


def _runs(counts):
    return {"size": [small_sets.HEIGHT, small_sets.WIDTH], "counts": counts}


FOUND = {
    "no list": lambda content: content.update({"d.json": {}}),
    "a score as text": _found(score="0.5"),
    "a score beyond all": _found(score=10**400),
    "run lengths that do not fill": _found(segmentation=_runs("0Xf0")),
    "run lengths as a number": _found(segmentation=_runs(7)),
    "run lengths without size": _found(segmentation={"counts": "0"}),
    "a size that is no whole number": _found(
        segmentation={"size": [30.0, 40], "counts": [0, 1200]}
    ),
    "negative run lengths": _found(segmentation=_runs([-1, 1201])),
    "a polygon far outside": _truth(
        "annotations", segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]
    ),
    "a polygon of one point": _truth("annotations", segmentation=[[1, 1]]),
    "a polygon of no point": _truth("annotations", segmentation=[[]]),
    "an area that is a list": _truth("annotations", area=[1]),
    "no area": _truth("annotations", area=None),
    "a crowd that is a list": _truth("annotations", iscrowd=[1]),
    "an id beyond all": _truth("images", id=2**64),
    "a long class": _truth("categories", name="a/" * 3000),
    "a picture without height": _truth("images", height=None),
    "a picture as high as none": _truth("images", height=2**40),
}


class Detections:
    """Detections and annotations of three pictures, with masks; one is changed."""

    lists_faults = False

    def __init__(self, folder):
        from libra_tf.evaluation.coco_results import encode_masks

        self.folder = Path(folder)
        self.truth = Coco(self.folder / "source").fresh()
        self.results = []
        for each in self.truth["annotations"]:
            x, y, w, h = each["bbox"]
            drawn = np.zeros((1, small_sets.HEIGHT, small_sets.WIDTH), np.uint8)
            drawn[:, y : y + h, x : x + w] = 1
            each.setdefault("segmentation", encode_masks(drawn)[0])
            record = {k: each[k] for k in ("image_id", "category_id", "bbox")}
            mask = encode_masks(drawn)[0]
            self.results.append({**record, "score": 0.5, "segmentation": mask})
        self.truth["info"] = {"has_file_ids": True}
        self.file, self.truth_file = self.folder / "d.json", self.folder / "a.json"
        self.out, self.iou_type = self.folder / "out", "bbox"
        self.kept = [self.out]

    def fresh(self):
        """Detections, annotations, and what is compared: boxes or masks."""
        return {
            "d.json": copy.deepcopy(self.results),
            "a.json": copy.deepcopy(self.truth),
            "iou_type": "bbox",
        }

    def generate(self, rng):
        content = self.fresh()
        content["iou_type"] = rng.choice(["bbox", "segm"])
        name = rng.choice(["d.json", "d.json", "a.json"])
        data = json.dumps(change_tree(rng, content[name])).encode()
        content[name] = change_bytes(rng, data) if rng.random() < 0.2 else data
        return content

    def save(self, content):
        self.iou_type = content["iou_type"]
        for name in ("d.json", "a.json"):
            data = content[name]
            data = data if isinstance(data, bytes) else json.dumps(data).encode()
            (self.folder / name).write_bytes(data)

    def uses(self):
        from libra_tf.commands import eval
        from libra_tf.evaluation.coco import evaluate_detections

        shutil.rmtree(self.out, ignore_errors=True)
        parser = argparse.ArgumentParser()
        eval.add_arguments(parser)
        words = ["--detections", self.file, "--annotations", self.truth_file]
        words += ["--iou-type", self.iou_type, "--out", self.out]
        yield lambda: eval.run(parser.parse_args(list(map(str, words))))
        # The other of two matchers; the first may be either.
        yield lambda: evaluate_detections(
            self.truth_file, self.file, iou_type=self.iou_type, backend="pycocotools"
        )
