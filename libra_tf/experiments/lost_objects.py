"""What the limits of an experiment cost on its data: one line for each loss.

A parser cuts objects, a detector has room for so many detections, and anchors reach so
far, all without a word. The lines name counts and the setting that helps.

Shape shorthand in this module: N images, M objects.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from libra_tf.data.manifest import Manifest, load_manifest
from libra_tf.data.objects import SplitObjects, most_per_image, read_objects
from libra_tf.errors import UserError
from libra_tf.experiments.anchor_advice import (
    anchor_advice,
    anchors_of,
    best_anchor_iou,
    levels_of,
)
from libra_tf.experiments.task_config import MaskRCNNTask, RetinaNetTask

Task = MaskRCNNTask | RetinaNetTask
# `max_num_instances` is raised up to here: labels grow with it, for every image.
MOST_INSTANCES = 1000
# More than this, an image shows no more than it did.
MOST_ENLARGED = 4.0
_TRAIN, _VAL = "task.train_data.parser", "task.validation_data.parser"


def raise_instances(task: Task, manifest: Manifest) -> None:
    """Raises `max_num_instances`, where it has its default, to what the data has.

    Args:
        task: changed in place.
        manifest: of `task.dataset`.
    """
    for split, data in _splits(task):
        default = type(task)().train_data.parser.max_num_instances
        if data.parser.max_num_instances != default or not _reads(
            data, manifest, split
        ):
            continue
        most = min(most_per_image(manifest.splits[split]), MOST_INSTANCES)
        data.parser.max_num_instances = max(default, most)


def lost_objects(task: Task, trains: bool = True, evaluates: bool = True) -> list[str]:
    """Returns a line for each loss; none without `task.dataset`.

    Args:
        task: resolved.
        trains: count the training split.
        evaluates: count the validation split.

    Raises:
        UserError: nothing is left of an image.
    """
    if not task.dataset:
        return []
    manifest = load_manifest(task.dataset)
    lines: list[str] = []
    for wanted, check, (split, data) in zip(
        (trains, evaluates), (_training, _evaluation), _splits(task), strict=True
    ):
        if wanted and _reads(data, manifest, split):
            lines += check(task, read_objects(manifest.splits[split]))
    return lines


def _splits(task: Task) -> tuple[tuple[str, Any], tuple[str, Any]]:
    training = task.train_split, task.train_data
    return training, (task.validation_split, task.validation_data)


def _reads(data: Any, manifest: Manifest, split: str) -> bool:
    """Whether the records of a split are what is read."""
    files = manifest.splits.get(split)
    return files is not None and data.input_path == files.tfrecords


def _training(task: Task, found: SplitObjects) -> Iterator[str]:
    parser = task.train_data.parser
    counts = found.per_image(with_crowds=not parser.skip_crowd_during_training)
    if not counts.any():
        yield (
            f"{found.name}: none of {len(counts):,} images has an object, so the "
            "detector learns background only: check the annotations"
        )
    yield from _too_many(
        counts,
        parser.max_num_instances,
        f"{found.name}: max_num_instances cuts",
        f"set {_TRAIN}.max_num_instances to {counts.max(initial=0)}",
    )
    if task.is_two_stage:
        yield from _too_few_places(task, found.name, counts)
    if task.model.has_one_size:
        _check_visible(task, found, parser.aug_scale_min)
        yield from _size_lines(task, found)


def _too_few_places(
    task: MaskRCNNTask, split: str, counts: np.ndarray
) -> Iterator[str]:
    model, sampler = task.model, task.model.roi_sampler
    yield from _too_many(
        counts,
        model.roi_generator.num_proposals,
        f"{split}: num_proposals is too low for",
        "raise task.model.roi_generator.num_proposals",
    )
    if "all" not in (sampler.positives, sampler.negatives):
        yield from _too_many(
            counts,
            int(sampler.num_sampled_rois * sampler.foreground_fraction),
            f"{split}: a training step has no positive RoI for",
            "raise task.model.roi_sampler.num_sampled_rois",
        )


def _evaluation(task: Task, found: SplitObjects) -> Iterator[str]:
    model, counts = task.model, found.per_image(with_crowds=False)
    most = counts.max(initial=0)
    limits = {
        "task.model.detection_generator.max_num_detections": (
            model.detection_generator.max_num_detections
        ),
    }
    if task.is_two_stage:
        name = "task.model.roi_generator.test_num_proposals"
        limits[name] = task.model.roi_generator.test_num_proposals
    for name, limit in limits.items():
        yield from _too_many(
            counts,
            limit,
            f"{found.name}: {name.rpartition('.')[-1]} leaves no detection for",
            f"set {name} to {most} or more",
        )
    limit = task.max_num_eval_detections
    yield from _lost(
        found.beyond(limit),
        counts.sum(),
        limit,
        f"{found.name}: AP counts so many detections of an image and class only, as "
        "COCO's does, and misses",
        "task.max_num_eval_detections raises it, and makes it another AP than COCO's",
    )
    if task.model.has_one_size and not task.model.fits_each_image:
        _check_visible(task, found, 1.0)
    if not task.annotation_file:
        yield from _too_many(
            found.per_image(),
            task.validation_data.parser.max_num_instances,
            f"{found.name}: max_num_instances cuts",
            f"set {_VAL}.max_num_instances to {found.per_image().max(initial=0)}",
        )


def _too_many(counts: np.ndarray, limit: int, what: str, advice: str) -> Iterator[str]:
    """A line if images have more objects [N] than `limit`."""
    lost = np.maximum(counts - limit, 0)
    yield from _lost(lost, counts.sum(), limit, what, advice)


def _lost(
    lost: np.ndarray, total: int, limit: int, what: str, advice: str
) -> Iterator[str]:
    """A line if images lose objects [N], of `total`."""
    if lost.any():
        yield (
            f"{what} {lost.sum():,} of {total:,} objects, in {(lost > 0).sum():,} of "
            f"{len(lost):,} images (limit {limit}): {advice}"
        )


def _scales(task: Task, found: SplitObjects) -> np.ndarray:
    """By how much each image is resized, [N, 2], without augmentation."""
    scales = np.array(task.model.input_size[:2]) / found.image_sides
    if not getattr(task.train_data.parser, "keep_aspect_ratio", True):
        return scales
    return np.repeat(scales.min(axis=1, keepdims=True), 2, axis=1)


def _check_visible(task: Task, found: SplitObjects, shrinks: float) -> None:
    """Refuses images of which the resizing leaves nothing; TensorFlow stops there."""
    sides = np.round(found.image_sides * _scales(task, found) * shrinks)
    gone = (sides < 1).any(axis=1)
    if gone.any():
        first = list(itertools.islice(itertools.compress(found.file_names, gone), 10))
        raise UserError(
            f"{found.name}: {gone.sum():,} of {len(gone):,} images are so narrow that "
            f"no pixel is left of them in the input ({', '.join(first)}): cut them up "
            "or leave them out and convert again, or raise task.model.input_size"
        )


def _size_lines(task: Task, found: SplitObjects) -> Iterator[str]:
    """Lines about images and objects at the size of the input."""
    scales = _scales(task, found)
    size = "x".join(map(str, task.model.input_size[:2]))
    enlarged = (scales.max(axis=1) > MOST_ENLARGED).sum()
    if enlarged:
        yield (
            f"{found.name}: {enlarged:,} of {len(scales):,} images are enlarged more "
            f"than {MOST_ENLARGED:g} times to the input size {size}: a smaller "
            "task.model.input_size shows as much and is faster"
        )
    yield from _object_lines(task, found, found.sides * scales[found.image_rows], size)


def _object_lines(
    task: Task, found: SplitObjects, sides: np.ndarray, size: str
) -> Iterator[str]:
    sides = sides[~found.is_crowd]
    total = len(sides)
    is_dot = (sides < 1).any(axis=1)
    if is_dot.any():
        yield (
            f"{found.name}: {is_dot.sum():,} of {total:,} objects are less than a "
            f"pixel high or wide at the input size {size}: raise task.model.input_size"
        )
    parser = task.train_data.parser
    name = "rpn_match_threshold" if task.is_two_stage else "match_threshold"
    threshold = getattr(parser, name)
    shapes = anchors_of(task.model).sides(levels_of(task.model))
    missed = best_anchor_iou(sides, shapes) < threshold
    is_small = sides.prod(axis=1) < shapes.prod(axis=1).min()
    advice = anchor_advice(task.model, sides, threshold) if missed.any() else ""
    for word, lost in (
        ("small", missed & is_small),
        ("large or long", missed & ~is_small),
    ):
        if lost.any():
            yield (
                f"{found.name}: {lost.sum():,} of {total:,} objects are too {word} for "
                f"an IoU of {threshold:g} ({name}) with any anchor, so each trains its "
                f"nearest only: {advice}"
            )
