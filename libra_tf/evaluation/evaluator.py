"""COCO metrics inside Model Garden's evaluation loop.

`CocoEvaluator` has the interface of `official.vision.evaluation.COCOEvaluator` and
gives equal figures on the same images. It differs in what that one leaves out:
figures per class, any number of detections per image, recall of proposals, a word
when the loop saw only a part of the annotation file, RetinaNet without annotation
file, and memory without padding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from absl import logging

from libra_tf.errors import UserError
from libra_tf.evaluation import batches, coco, proposals
from libra_tf.evaluation.backends import Backend, IouType
from libra_tf.evaluation.coco_checks import GroundTruth, first_few
from libra_tf.evaluation.coco_results import to_coco_results, yxyx_to_xywh
from libra_tf.evaluation.file_ids import FileIds
from libra_tf.evaluation.ground_truth import CollectedGroundTruth, read_ground_truth
from libra_tf.evaluation.metrics_table import format_table
from libra_tf.evaluation.parts import pack, unpack
from libra_tf.files.json_files import write_json


class CocoEvaluator:
    """Collects the detections of an evaluation and computes COCO metrics.

    Args:
        annotation_file: COCO JSON, local or on a file system that TensorFlow reads;
            None takes the ground truth from the batches.
        include_mask: compute mask AP too, under keys that start with `mask_`.
        max_detections: detections per image and class that count.
        class_names: category id to name, or names by position (0: background). None
            takes the names of the annotation file.
        proposal_numbers: compute the recall of that many `proposals`, where
            predictions have them; empty for none.
        name: under which the task logs the outputs of a step.
        backend: see `coco.evaluate_detections`.

    Attributes:
        exchange: where several processes share an evaluation: takes what this one saw,
            returns what each of them did.

    Raises:
        UserError: for an annotation file that cannot be used.
    """

    exchange: Callable[[bytes], list[bytes]] | None = None

    def __init__(
        self,
        annotation_file: str | os.PathLike | None = None,
        include_mask: bool = False,
        max_detections: int = 100,
        class_names: Mapping[int, str] | Sequence[str] | None = None,
        proposal_numbers: Sequence[int] = (),
        name: str = "coco_metric",
        backend: Backend = "auto",
    ):
        self.name = name
        self._file = os.fspath(annotation_file) if annotation_file else None
        self._include_mask = include_mask
        self._max_detections = max_detections
        self._class_names = _by_id(class_names)
        self._proposal_numbers = tuple(proposal_numbers)
        self._backend = backend
        self._metrics: dict[str, coco.DetectionMetrics] = {}
        self._truth: GroundTruth | None = None
        if self._file:
            self._truth = read_ground_truth(self._file, self._class_names, include_mask)
            self._known_images = {image["id"] for image in self._truth.images}
        self.reset_states()

    @property
    def last_metrics(self) -> dict[str, coco.DetectionMetrics]:
        """Metrics of the last `result`: "bbox" and, with masks, "segm"."""
        return self._metrics

    def reset_states(self) -> None:
        """Forgets the images of the last evaluation."""
        self._images: dict[int, batches.ImageDetections] = {}
        self._collected = CollectedGroundTruth(self._include_mask)
        self._finished = False

    def update_state(
        self, groundtruths: Mapping[str, Any] | None, predictions: Mapping[str, Any]
    ) -> None:
        """Adds one batch; images that were seen before and padding are left out.

        Args:
            groundtruths: see `CollectedGroundTruth`; used without annotation file.
            predictions: see `batches.rows`; boxes in pixels of the resized image. Each
                value is a tensor or a tuple of the replicas' tensors.

        Raises:
            UserError: for images that the annotation file does not have.
            ValueError: when a field is missing.
        """
        if self._finished:
            self.reset_states()
        masks = ("detection_masks",) if self._include_mask else ()
        arrays = batches.to_numpy(predictions, batches.PREDICTION_FIELDS + masks)
        unwanted = {"proposals"} if not self._proposal_numbers else set()
        unwanted |= {"detection_masks"} if not self._include_mask else set()
        arrays = {k: v for k, v in arrays.items() if k not in unwanted}
        if self._truth is None:
            self._collected.add(groundtruths)
        else:
            self._check_images(batches.image_ids(arrays["source_id"]))
        self._images.update(batches.rows(arrays, set(self._images)))

    def result(self) -> dict[str, np.float32]:
        """Returns flat metrics for TensorBoard over the images that were seen.

        AP, AP50, ... ARl (Model Garden's keys), AP@0.50, AP@0.55, ... AP@0.95 by IoU
        threshold, `AP/<class>`, the same with `mask_` in front, AR@100 and the like of
        proposals, `num_images_evaluated` and `num_images_missing`. A figure without
        ground truth has no key; AP has one as soon as there is a single object.

        Raises:
            UserError: when no image was evaluated.
        """
        if self.exchange is not None and not self._finished:
            self._add_others(self.exchange)
        if not self._images:
            raise UserError(
                "no image was evaluated; check validation_data.input_path and "
                "trainer.validation_steps (-1: all)"
            )
        truth, found = self._ground_truth(), self.detections()
        self._finished = True
        kinds: dict[IouType, str] = {"bbox": ""}
        kinds |= {"segm": "mask_"} if self._include_mask else {}
        self._metrics = {kind: self._evaluate(truth, found, kind) for kind in kinds}
        values: dict[str, float | None] = {}
        for kind, prefix in kinds.items():
            values |= _flat(self._metrics[kind], prefix)
        values |= self._proposal_recall(truth)
        values["num_images_evaluated"] = len(self._images)
        values["num_images_missing"] = len(truth.images) - len(self._images)
        self._warn(len(truth.images))
        return {k: np.float32(v) for k, v in values.items() if v is not None}

    def detections(self) -> list[dict[str, Any]]:
        """Returns COCO results of all images seen, of categories that exist."""
        if self._truth is not None:
            categories = self._truth.categories
        else:
            categories = self._collected.categories(self._class_names)
        known = [c["id"] for c in categories]
        results = []
        for image_id, image in sorted(self._images.items()):
            # A model has outputs for the gaps in COCO's ids; no object has such an id.
            keep = np.isin(image.classes, known)
            masks = image.masks
            if masks is not None:
                masks = [masks[k] for k in np.flatnonzero(keep)]
            results += to_coco_results(
                image_id,
                image.boxes[keep],
                image.classes[keep],
                image.scores[keep],
                masks,
            )
        return results

    def save_detections(self, path: str | os.PathLike) -> None:
        """Writes `detections` as a COCO result file, in one step.

        Ids are those of the data set's source, where the annotation file tells them.
        """
        results = self.detections()
        write_json(
            path, self._truth.file_ids.write(results) if self._truth else results
        )

    def _add_others(self, exchange: Callable[[bytes], list[bytes]]) -> None:
        parts = exchange(pack(self._images, self._collected.state))
        self._images, self._collected = {}, CollectedGroundTruth(self._include_mask)
        for part in parts:
            images, collected = unpack(part)
            self._images |= {i: x for i, x in images.items() if i not in self._images}
            self._collected.add_state(collected)

    def _ground_truth(self) -> GroundTruth:
        if self._truth is not None:
            # The detections have our numbers.
            return replace(self._truth, file_ids=FileIds())
        return self._collected.dataset(self._class_names)

    def _check_images(self, image_ids: list[int]) -> None:
        unknown = [i for i in image_ids if i not in self._known_images]
        if unknown:
            raise UserError(
                f"{self._file}: has no image {first_few(unknown)}, which the "
                "validation records have; give the annotation file of their split"
            )

    def _evaluate(
        self, truth: GroundTruth, found: list[dict[str, Any]], kind: IouType
    ) -> coco.DetectionMetrics:
        metrics = coco.evaluate_detections(
            truth,
            found,
            iou_type=kind,
            max_detections=self._max_detections,
            image_ids=self._images,
            backend=self._backend,
            own_masks=True,
        )
        logging.info("%s", format_table(metrics))
        return metrics

    def _proposal_recall(self, truth: GroundTruth) -> dict[str, float | None]:
        boxes = {
            i: yxyx_to_xywh(image.proposals)
            for i, image in self._images.items()
            if image.proposals is not None
        }
        if len(boxes) < len(self._images):
            return {}
        return proposals.evaluate_proposals(
            truth,
            boxes,
            numbers=self._proposal_numbers,
            image_ids=self._images,
            backend=self._backend,
        )

    def _warn(self, num_images: int) -> None:
        seen = len(self._images)
        if seen < num_images:
            logging.warning(
                "AP covers %d of %d images: raise trainer.validation_steps (or -1 for "
                "all), and set validation_data.drop_remainder to false",
                seen,
                num_images,
            )
        dropped = sum(image.num_dropped for image in self._images.values())
        if dropped:
            logging.warning("%d detections with NaN values do not count", dropped)
        if self._metrics["bbox"].summary["AP"] is None:
            logging.warning("the %d images have no object: AP is not defined", seen)


def _by_id(names: Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    if names is None or isinstance(names, Mapping):
        return dict(names or {})
    return {i: name for i, name in enumerate(names) if i > 0}


def _flat(metrics: coco.DetectionMetrics, prefix: str) -> dict[str, float | None]:
    values = {f"{prefix}{key}": value for key, value in metrics.summary.items()}
    values |= {f"{prefix}AP@{t:.2f}": ap for t, ap in metrics.ap_by_iou.items()}
    for name, row in metrics.per_class.items():
        values[f"{prefix}AP/{name}"] = row["AP"]
    return values
