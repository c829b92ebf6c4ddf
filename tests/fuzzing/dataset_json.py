"""`dataset.json` of a converted folder, as every verb with `--data` reads it."""

import argparse
import copy
import json
import shutil
from pathlib import Path

from fuzzing.coco import Coco, convert
from fuzzing.mutate import change_bytes, change_tree


def _long_finding(content):
    first = ["x y " * 1000] * 3
    content["splits"]["val"]["findings"] = {"clipped": {"count": 3, "first": first}}


def _many_names(content):
    findings = {"clipped": {"count": 1, "first": [1] * 2000}}
    content["splits"]["val"]["findings"] = findings


def _long_class(content):
    content["categories"][0]["name"] = "a/" * 3000


def _long_split(content):
    content["splits"]["9" * 5000] = content["splits"].pop("val")


FOUND = {
    "a long split": _long_split,
    "a long finding": _long_finding,
    "a finding with many names": _many_names,
    "a long class": _long_class,
}


class DatasetJson:
    """A converted folder of one split, to which another may be added."""

    lists_faults = False

    def __init__(self, folder):
        self.source = Coco(Path(folder) / "source")
        self.good = self.source.before
        self.content = json.loads((self.good / "dataset.json").read_text())
        self.content["categories"][1]["file_id"] = "d"
        findings = {"clipped": {"count": 1, "first": [3]}}
        self.content["splits"]["val"] |= {"findings": findings, "file_ids": {"1": 0}}
        self.folder, self.is_added = Path(folder) / "set", False
        self.file = self.folder / "dataset.json"
        self.kept = [self.folder]

    def fresh(self):
        return copy.deepcopy(self.content)

    def generate(self, rng):
        self.is_added = rng.random() < 0.2
        data = json.dumps(change_tree(rng, self.fresh())).encode()
        return change_bytes(rng, data) if rng.random() < 0.2 else data

    def save(self, content):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.good, self.folder)
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.file.write_bytes(content)

    def uses(self):
        from libra_tf.commands import data, data_verify
        from libra_tf.data.manifest import file_ids_of, load_manifest
        from libra_tf.data.objects import most_per_image

        def read():
            for split in load_manifest(self.folder).splits.values():
                most_per_image(split)
            file_ids_of(self.folder, "val")

        args = argparse.Namespace(folder=str(self.folder), json=False)
        yield read
        yield lambda: data._info(args)
        yield lambda: data_verify.run(args)
        if self.is_added:
            yield lambda: convert(
                "--images", self.source.images, "--annotations", self.source.file,
                "--split", "train", "--out", self.folder,
            )  # fmt: skip
