"""Images by how well their objects were found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libra_tf.analysis.engine import Outcomes
from libra_tf.evaluation.coco_checks import GroundTruth, Records


@dataclass(frozen=True)
class ImageOutcome:
    """An image at one threshold of the score.

    Attributes:
        image_id: its id.
        file_name: as the annotation file has it.
        correct: detections that are.
        wrong: detections that are not.
        missed: objects that were not found.
        f1: 2 correct / (2 correct + wrong + missed); of an image without objects and
            detections 1.
    """

    image_id: int
    file_name: str
    correct: int
    wrong: int
    missed: int
    f1: float


def outcomes_by_image(
    truth: GroundTruth, detections: Records, outcomes: Outcomes, min_score: float
) -> list[ImageOutcome]:
    """Returns all images, in the order of the annotation file.

    Matching goes from the highest score down, so what a detection was matched to does
    not depend on those below the threshold.

    Args:
        truth: the annotations.
        detections: COCO results.
        outcomes: of both.
        min_score: detections below do not count.
    """
    scores = np.array([d["score"] for d in detections])
    kept = outcomes.counted & (scores >= min_score)
    correct: dict[int, int] = {}
    wrong: dict[int, int] = {}
    objects: dict[int, int] = {}
    for k in np.flatnonzero(kept):
        counts = correct if outcomes.correct[k] else wrong
        image_id = detections[k]["image_id"]
        counts[image_id] = counts.get(image_id, 0) + 1
    for g in np.flatnonzero(outcomes.required):
        image_id = truth.annotations[g]["image_id"]
        objects[image_id] = objects.get(image_id, 0) + 1
    found = []
    for image in truth.images:
        i = image["id"]
        hits, misses = correct.get(i, 0), wrong.get(i, 0)
        missed = objects.get(i, 0) - hits
        all_ = 2 * hits + misses + missed
        f1 = 2 * hits / all_ if all_ else 1.0
        name = str(image.get("file_name", i))
        found.append(ImageOutcome(i, name, hits, misses, missed, f1))
    return found


def worst(images: list[ImageOutcome], number: int) -> list[ImageOutcome]:
    """Returns images with errors, lowest F1 first, of equals the most errors."""
    with_errors = [i for i in images if i.wrong + i.missed]
    return sorted(with_errors, key=lambda i: (i.f1, -i.wrong - i.missed))[:number]


def best(images: list[ImageOutcome], number: int) -> list[ImageOutcome]:
    """Returns images with a correct detection, highest F1 first, then most objects."""
    with_objects = [i for i in images if i.correct]
    return sorted(with_objects, key=lambda i: (-i.f1, -i.correct))[:number]
