"""The images of a report: worst, best, and where the annotations may be wrong."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from libra_tf.analysis.analysis import Analysis
from libra_tf.analysis.engine import LabelCandidate
from libra_tf.analysis.image_outcomes import ImageOutcome
from libra_tf.data.images import read_image
from libra_tf.data.records import ImageRecord
from libra_tf.drawing.detections import Mark, draw_marks
from libra_tf.drawing.image_files import jpeg_uri
from libra_tf.drawing.palette import Color
from libra_tf.errors import UserError

# Told apart by colour-blind people too.
CORRECT: Color = (86, 180, 233)
WRONG: Color = (255, 90, 40)
FOUND: Color = (255, 255, 255)
MISSED: Color = (255, 235, 0)
KEY = (
    ("correct detection", CORRECT, False),
    ("wrong detection", WRONG, False),
    ("object that was found", (150, 150, 150), True),
    ("object that was missed", MISSED, True),
)
_LONGEST = 1024  # pixels of a picture's longer side, before it is drawn on
# Around a candidate: as much again on each side, and at least so many pixels.
_MARGIN, _LEAST_MARGIN = 1.0, 40


@dataclass(frozen=True)
class Picture:
    """A drawn image as text of a page, and what is on it."""

    uri: str
    caption: str


class Pictures:
    """Draws images of a folder.

    Args:
        analysis: gives boxes and outcomes.
        folder: of the images.
    """

    def __init__(self, analysis: Analysis, folder: str):
        self._analysis, self._folder = analysis, folder
        self._images = {image["id"]: image for image in analysis.truth.images}
        self._names = {c.category_id: c.name for c in analysis.classes}
        self._annotations = {a["id"]: a for a in analysis.truth.annotations}

    def whole(self, outcome: ImageOutcome) -> Picture:
        """Returns an image with its objects and the detections that count.

        Raises:
            UserError: the image cannot be read.
        """
        image, scale = self._read(outcome.image_id)
        marks = self._objects(outcome.image_id) + self._detections(outcome.image_id)
        marks = [_scaled(mark, scale) for mark in marks]
        caption = (
            f"{outcome.file_name}: F1 {outcome.f1:.2f}; {outcome.correct} correct, "
            f"{outcome.wrong} wrong, {outcome.missed} missed"
        )
        return Picture(jpeg_uri(draw_marks(image, marks)), caption)

    def candidate(self, candidate: LabelCandidate) -> Picture:
        """Returns the surroundings of a detection that contradicts the annotations.

        Raises:
            UserError: the image cannot be read.
        """
        detection = self._analysis.detections[candidate.detection]
        image_id = detection["image_id"]
        image, scale = self._read(image_id)
        box = _yxyx(detection) * scale
        top, left, bottom, right = _window(box, image.shape[:2])
        corner = np.array([top, left, top, left])
        marks = [
            Mark(_yxyx(a) * scale - corner, FOUND, dashed=True)
            for a in self._analysis.truth.annotations
            if a["image_id"] == image_id
        ]
        marks.append(Mark(box - corner, WRONG))
        name = self._names[detection["category_id"]]
        found = f"{name} {detection['score']:.2f}"
        if candidate.annotation:
            other = self._annotations[candidate.annotation]["category_id"]
            found += f", annotated as {self._names[other]} (IoU {candidate.iou:.2f})"
        picture = draw_marks(image[top:bottom, left:right], marks)
        return Picture(jpeg_uri(picture), f"{self._name(image_id)}: {found}")

    def _objects(self, image_id: int) -> list[Mark]:
        outcomes, threshold = self._analysis.outcomes, self._analysis.threshold
        found = {
            int(outcomes.annotation[k])
            for k, d in enumerate(self._analysis.detections)
            if d["image_id"] == image_id and d["score"] >= threshold
        }
        return [
            Mark(_yxyx(a), FOUND if a["id"] in found else MISSED, dashed=True)
            for a, required in zip(
                self._analysis.truth.annotations, outcomes.required, strict=True
            )
            if a["image_id"] == image_id and required
        ]

    def _detections(self, image_id: int) -> list[Mark]:
        outcomes, threshold = self._analysis.outcomes, self._analysis.threshold
        kept = [
            (d["score"], k)
            for k, d in enumerate(self._analysis.detections)
            if d["image_id"] == image_id
            and d["score"] >= threshold
            and outcomes.counted[k]
        ]
        marks = []
        for score, k in sorted(kept):
            detection, correct = self._analysis.detections[k], outcomes.correct[k]
            name = self._names[detection["category_id"]]
            # A label for each correct one would hide what went wrong.
            text = "" if correct else f"{name} {score:.2f}"
            color = CORRECT if correct else WRONG
            marks.append(Mark(_yxyx(detection), color, text))
        return marks

    def _name(self, image_id: int) -> str:
        return str(self._images[image_id].get("file_name", image_id))

    def _read(self, image_id: int) -> tuple[np.ndarray, float]:
        """Returns pixels, made smaller where they are many, and the scale."""
        from PIL import Image

        record = self._images[image_id]
        width, height = record.get("width"), record.get("height")
        if not isinstance(record.get("file_name"), str):
            raise UserError(
                f"{self._analysis.truth.name}: image {image_id} has no file_name, "
                "which --images needs"
            )
        if type(width) is not int or type(height) is not int:
            raise UserError(
                f"{self._analysis.truth.name}: image {image_id} has no width and "
                "height, which --images needs"
            )
        known = ImageRecord(image_id, record["file_name"], width, height)
        encoded = read_image(self._folder, known, exif="ignore")
        with Image.open(io.BytesIO(encoded.data)) as opened:
            picture = opened.convert("RGB")
        scale = min(1.0, _LONGEST / max(picture.size))
        if scale < 1:
            size = (round(picture.width * scale), round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        return np.array(picture), scale


def _yxyx(record: dict) -> np.ndarray:
    x, y, width, height = (float(v) for v in record["bbox"])
    return np.array([y, x, y + height, x + width])


def _scaled(mark: Mark, scale: float) -> Mark:
    return Mark(mark.box * scale, mark.color, mark.text, mark.dashed)


def _window(box: np.ndarray, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Returns top, left, bottom, right of what is shown around a box."""
    margin = max(_MARGIN * max(box[2] - box[0], box[3] - box[1]), _LEAST_MARGIN)
    low = np.clip(np.floor(box[:2] - margin), 0, np.array(size) - 1).astype(int)
    high = np.clip(np.ceil(box[2:] + margin), low + 1, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
