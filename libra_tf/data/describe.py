"""Counts what a converted folder holds, for `libra data info`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from libra_tf.data.coco import read_coco
from libra_tf.data.faults import refuse_faults
from libra_tf.data.manifest import Manifest, SplitFiles, load_manifest
from libra_tf.data.object_sizes import in_range

_SIZES = ("small", "medium", "large")


def describe(folder: str | Path) -> dict[str, Any]:
    """Returns, per split, the numbers of images and boxes, by class and by size."""
    manifest = load_manifest(folder)
    return {
        "folder": manifest.folder,
        "num_classes": manifest.num_classes,
        "splits": {
            name: _describe_split(files, manifest)
            for name, files in manifest.splits.items()
        },
    }


def _describe_split(files: SplitFiles, manifest: Manifest) -> dict[str, Any]:
    dataset = read_coco(files.annotation_file)
    refuse_faults(dataset.faults)
    objects = [a for image in dataset.images for a in image.annotations]
    classes = Counter(a.category_id for a in objects)
    areas = np.array([a.area for a in objects])
    return {
        "num_images": len(dataset.images),
        "num_annotations": len(objects),
        "num_crowds": sum(a.iscrowd for a in objects),
        "images_without_boxes": sum(not i.annotations for i in dataset.images),
        "max_boxes_per_image": max(len(i.annotations) for i in dataset.images),
        "per_class": {name: classes[key] for key, name in manifest.class_names.items()},
        "per_size": {size: int(in_range(areas, size).sum()) for size in _SIZES},
        "masks": dataset.has_masks,
        "findings": files.findings,
    }
