"""`CocoEvaluator` beside Model Garden's `COCOEvaluator`, on the same batches."""

import io
import json
import logging

import numpy as np
import pytest
import tensorflow as tf
from official.vision.evaluation import coco_evaluator
from PIL import Image
from tolerances import ELEMENTWISE, tolerance

from libra_tf.errors import UserError
from libra_tf.evaluation import coco_checks
from libra_tf.evaluation.coco import evaluate_detections
from libra_tf.evaluation.evaluator import CocoEvaluator
from libra_tf.evaluation.parts import pack
from libra_tf.files.json_files import write_json

BATCH, PADDED, OBJECTS = 4, 30, 12
HEIGHT, WIDTH = 120, 160  # of the originals
SCALE = (2.0, 1.5)  # y, x
NAMES = ["background", "Platelets", "RBC", "WBC"]


class Data:
    """A random data set as Model Garden's parsers and detectors deliver it."""

    def __init__(self, num_images=10, seed=0, masks=False, column=False):
        self.rng = np.random.default_rng(seed)
        self.ids = 100 + np.arange(num_images)
        self.masks, self.column = masks, column
        self.objects = [self._objects() for _ in self.ids]
        self.batches = [
            (self._groundtruths(rows), self._predictions(rows))
            for rows in np.split(np.arange(num_images), range(BATCH, num_images, BATCH))
        ]

    def _objects(self):
        number = self.rng.integers(1, OBJECTS)
        corner = self.rng.uniform(0, 80, (number, 2))
        size = self.rng.uniform(6, [40, 80], (number, 2))
        boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
        return boxes, self.rng.integers(1, 4, number), self.rng.random(number) < 0.1

    def _groundtruths(self, rows):
        boxes = -np.ones((len(rows), OBJECTS, 4), np.float32)
        classes = -np.ones((len(rows), OBJECTS), np.int64)
        crowds = np.zeros((len(rows), OBJECTS), np.int32)
        number = np.array([len(self.objects[r][0]) for r in rows], np.int32)
        for i, r in enumerate(rows):
            for array, part in zip(
                (boxes, classes, crowds), self.objects[r], strict=True
            ):
                array[i, : number[i]] = part
        size = boxes[..., 2:] - boxes[..., :2]
        batch = {
            "source_id": self.ids[rows],
            "height": np.full(len(rows), HEIGHT),
            "width": np.full(len(rows), WIDTH),
            "num_detections": number[:, None] if self.column else number,
            "boxes": boxes,
            "classes": classes,
            "is_crowds": crowds,
            "areas": size.prod(-1),
        }
        if self.masks:
            batch["masks"] = np.ones((len(rows), OBJECTS, 28, 28), np.float32)
        return {k: tf.constant(v) for k, v in batch.items()}

    def _predictions(self, rows):
        boxes = np.zeros((len(rows), PADDED, 4), np.float32)
        classes = np.zeros((len(rows), PADDED), np.int32)
        scores = np.zeros((len(rows), PADDED), np.float32)
        number = np.zeros(len(rows), np.int32)
        for i, r in enumerate(rows):
            true_boxes, true_classes, _ = self.objects[r]
            n = number[i] = 2 * len(true_boxes)
            noise = self.rng.normal(0, 3, (n, 4))
            boxes[i, :n] = (np.tile(true_boxes, (2, 1)) + noise) * np.tile(SCALE, 2)
            boxes[i, :n, 2:] = np.maximum(boxes[i, :n, 2:], boxes[i, :n, :2] + 1)
            classes[i, :n] = np.tile(true_classes, 2)
            scores[i, :n] = np.sort(self.rng.random(n))[::-1]
        sizes = [(HEIGHT, WIDTH), (HEIGHT * 2, WIDTH * 1.5), SCALE, (0, 0)]
        batch = {
            "source_id": self.ids[rows],
            "image_info": np.tile(np.array(sizes, np.float32), (len(rows), 1, 1)),
            "num_detections": number,
            "detection_boxes": boxes,
            "detection_classes": classes,
            "detection_scores": scores,
        }
        if self.masks:
            half = np.zeros((len(rows), PADDED, 28, 28), np.float32)
            half[..., : 4 + number[0] % 8 :, :] = 0.2
            half[..., 6:, :] = 0.9
            batch["detection_masks"] = half
        return {k: tf.constant(v) for k, v in batch.items()}

    def annotations(self):
        annotations = []
        for image_id, (boxes, classes, crowds) in zip(
            self.ids.tolist(), self.objects, strict=True
        ):
            for (top, left, bottom, right), c, crowd in zip(
                boxes.tolist(), classes.tolist(), crowds, strict=True
            ):
                corners = [left, top, right, top, right, bottom, left, bottom]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": c,
                        "bbox": [left, top, right - left, bottom - top],
                        "area": (right - left) * (bottom - top),
                        "iscrowd": int(crowd),
                        "segmentation": [corners],
                    }
                )
        return {
            "images": [
                {"id": i, "height": HEIGHT, "width": WIDTH} for i in self.ids.tolist()
            ],
            "annotations": annotations,
            "categories": [{"id": i, "name": NAMES[i]} for i in (1, 2, 3)],
        }

    def write(self, path):
        write_json(path, self.annotations())
        return str(path)


def run(evaluator, batches):
    for groundtruths, predictions in batches:
        evaluator.update_state(dict(groundtruths), dict(predictions))
    return evaluator.result()


def model_garden(data, path, **kwargs):
    return run(coco_evaluator.COCOEvaluator(path, **kwargs), data.batches)


def assert_equal_figures(ours, theirs):
    """Every figure of Model Garden, with its -1 for what does not exist."""
    for key, value in theirs.items():
        assert ours.get(key, -1) == pytest.approx(value, abs=tolerance(ELEMENTWISE)), (
            key
        )


@pytest.mark.parametrize("limit", [100, 5])
def test_equals_model_garden_with_annotation_file(tmp_path, limit):
    data = Data()
    path = data.write(tmp_path / "val.json")
    ours = run(CocoEvaluator(path, max_detections=limit), data.batches)
    if limit == 100:
        theirs = model_garden(data, path, include_mask=False)
        assert len(theirs) == 12
        assert_equal_figures(ours, theirs)
        assert 0.2 < theirs["AP"] < 0.9
    assert f"ARmax{limit}" in ours
    assert {"AP/Platelets", "AP/RBC", "AP/WBC"} <= set(ours)
    assert ours["num_images_evaluated"] == 10
    assert ours["num_images_missing"] == 0
    assert {type(v) for v in ours.values()} == {np.float32}


def test_ap_at_each_iou_threshold(tmp_path):
    data = Data(masks=True)
    path = data.write(tmp_path / "val.json")
    ours = run(CocoEvaluator(path, include_mask=True), data.batches)
    for prefix in ("", "mask_"):
        at = [ours[f"{prefix}AP@0.{percent}"] for percent in range(50, 100, 5)]
        assert np.mean(at) == pytest.approx(
            ours[f"{prefix}AP"], abs=tolerance(ELEMENTWISE)
        )
        assert (at[0], at[5]) == (ours[f"{prefix}AP50"], ours[f"{prefix}AP75"])
        assert at == sorted(at, reverse=True)
    assert len({at[0], at[5], at[9]}) == 3


@pytest.mark.parametrize("column", [False, True], ids=["maskrcnn", "retinanet"])
def test_ground_truth_from_the_batches(tmp_path, column):
    data = Data(column=column)
    ours = run(CocoEvaluator(class_names=NAMES), data.batches)
    theirs = model_garden(Data(), None, include_mask=False)
    assert_equal_figures(ours, theirs)
    from_file = run(CocoEvaluator(data.write(tmp_path / "val.json")), data.batches)
    assert ours == pytest.approx(from_file, abs=tolerance(ELEMENTWISE))


def test_masks_equal_model_garden(tmp_path):
    data = Data(masks=True)
    path = data.write(tmp_path / "val.json")
    evaluator = CocoEvaluator(path, include_mask=True)
    ours = run(evaluator, data.batches)
    theirs = model_garden(data, path, include_mask=True)
    # With masks, Model Garden sorts boxes by the area of their mask.
    by_mask_area = {"APs", "APm", "APl"}
    theirs = {k: v for k, v in theirs.items() if k not in by_mask_area}
    assert_equal_figures(ours, theirs)
    assert 0.01 < ours["mask_AP"] < ours["AP"]
    assert "mask_AP/RBC" in ours
    assert set(evaluator.last_metrics) == {"bbox", "segm"}
    json.dumps(evaluator.detections())


def test_mask_ground_truth_from_the_batches(tmp_path):
    data = Data(masks=True)
    crops = run(CocoEvaluator(include_mask=True), data.batches)
    file = data.write(tmp_path / "val.json")
    polygons = run(CocoEvaluator(file, include_mask=True), data.batches)
    # A crop pasted back is the box to within the pixel grid.
    assert crops["mask_AP"] == pytest.approx(polygons["mask_AP"], abs=0.1)
    picture = io.BytesIO()
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(picture, "PNG")
    groundtruths, predictions = data.batches[0]
    png = np.full((BATCH, OBJECTS), picture.getvalue(), object)
    whole = CocoEvaluator(include_mask=True)
    whole.update_state({**groundtruths, "masks": png}, predictions)
    assert whole.result()["mask_AP50"] == 0.0


def test_several_replicas_and_numpy(tmp_path):
    data = Data()
    path = data.write(tmp_path / "val.json")
    one, other = data.batches[:2]
    joined = [{k: (one[part][k], other[part][k]) for k in one[part]} for part in (0, 1)]
    plain = [tuple({k: v.numpy() for k, v in p.items()} for p in data.batches[2])]
    ours = run(CocoEvaluator(path), [joined, *plain])
    assert ours == run(CocoEvaluator(path), data.batches)


@pytest.mark.parametrize("with_file", [True, False])
def test_several_processes_compute_the_figures_of_one(tmp_path, with_file):
    """One of them sees nothing, and one the first batch of the other again."""
    data = Data()
    path = data.write(tmp_path / "val.json") if with_file else None
    evaluators = [CocoEvaluator(path) for _ in range(3)]
    for groundtruths, predictions in data.batches[:2]:
        evaluators[0].update_state(groundtruths, predictions)
    for groundtruths, predictions in data.batches[2:] + data.batches[:1]:
        evaluators[2].update_state(groundtruths, predictions)
    said = [pack(e._images, e._collected.state) for e in evaluators]
    expected = run(CocoEvaluator(path), data.batches)
    for evaluator, own in zip(evaluators, said, strict=True):
        evaluator.exchange = lambda data, own=own: said if data == own else None
        assert evaluator.result() == expected
        assert evaluator.detections() == evaluators[0].detections()


def test_repeated_images_count_once_and_the_first_wins(tmp_path):
    data = Data()
    path = data.write(tmp_path / "val.json")
    worse = [
        (g, {**p, "detection_boxes": p["detection_boxes"] + 9}) for g, p in data.batches
    ]
    once = run(CocoEvaluator(path), data.batches)
    assert run(CocoEvaluator(path), [*data.batches, *worse]) == once
    assert run(CocoEvaluator(), [*data.batches, *worse])["AP"] == once["AP"]
    assert run(CocoEvaluator(path), [*worse, *data.batches])["AP"] < once["AP"]


def test_a_part_of_the_file_is_told(tmp_path, caplog):
    data = Data()
    path = data.write(tmp_path / "val.json")
    with caplog.at_level(logging.WARNING, logger="absl"):
        ours = run(CocoEvaluator(path), data.batches[:1])
    assert "AP covers 4 of 10 images: raise trainer.validation_steps" in caplog.text
    assert ours["num_images_evaluated"] == 4
    assert ours["num_images_missing"] == 6
    theirs = coco_evaluator.COCOEvaluator(path, include_mask=False)
    assert_equal_figures(ours, run(theirs, data.batches[:1]))
    caplog.clear()
    run(CocoEvaluator(path), data.batches)
    assert "AP covers" not in caplog.text


def test_unknown_images_are_named_at_once(tmp_path):
    data = Data()
    annotations = data.annotations()
    del annotations["images"][1], annotations["images"][2]
    kept = {image["id"] for image in annotations["images"]}
    annotations["annotations"] = [
        a for a in annotations["annotations"] if a["image_id"] in kept
    ]
    write_json(tmp_path / "val.json", annotations)
    evaluator = CocoEvaluator(tmp_path / "val.json")
    with pytest.raises(UserError, match=r"val\.json: has no image 101, 103,"):
        evaluator.update_state(*data.batches[0])


@pytest.mark.parametrize("ids", [["100", "101", "102", "103"], [100, 101, 102, 103]])
def test_source_ids_may_be_text(tmp_path, ids):
    data = Data()
    groundtruths, predictions = data.batches[0]
    predictions = {**predictions, "source_id": tf.constant(ids)}
    result = run(CocoEvaluator(data.write(tmp_path / "v.json")), [({}, predictions)])
    assert result["num_images_evaluated"] == 4
    for wrong, message in [("cat", "'cat' is not a whole"), ("-1", "no image/source")]:
        predictions["source_id"] = tf.constant([wrong] * 4)
        with pytest.raises(UserError, match=message):
            CocoEvaluator().update_state(groundtruths, predictions)


def test_proposals_are_reported_when_asked_for(tmp_path):
    data = Data()
    path = data.write(tmp_path / "val.json")
    batches = []
    for start, (groundtruths, predictions) in zip((0, 4, 8), data.batches, strict=True):
        number = len(predictions["source_id"])
        proposals = np.zeros((number, 20, 4), np.float32)
        for row, (boxes, _, _) in enumerate(data.objects[start : start + number]):
            proposals[row, : len(boxes)] = boxes * np.tile(SCALE, 2)
        batches.append((groundtruths, {**predictions, "proposals": proposals}))
    with_them = run(CocoEvaluator(path, proposal_numbers=(100, 300, 1000)), batches)
    assert with_them["AR@100"] == with_them["AR@1000"] == 1.0
    assert "AR@100" not in run(CocoEvaluator(path), batches)
    assert "AR@100" not in run(
        CocoEvaluator(path, proposal_numbers=(100, 300, 1000)), data.batches
    )


def test_saved_detections_give_the_same_figures(tmp_path):
    data = Data()
    path = data.write(tmp_path / "val.json")
    evaluator = CocoEvaluator(path)
    run(evaluator, data.batches)
    evaluator.save_detections(tmp_path / "results.json")
    saved = evaluate_detections(path, tmp_path / "results.json")
    assert saved == evaluator.last_metrics["bbox"]


def test_a_new_evaluation_starts_empty(tmp_path):
    data = Data()
    evaluator = CocoEvaluator(data.write(tmp_path / "val.json"))
    with pytest.raises(UserError, match="no image was evaluated"):
        evaluator.result()
    run(evaluator, data.batches)
    assert len(evaluator.detections()) > 0
    second = run(evaluator, data.batches[:1])
    assert second["num_images_evaluated"] == 4
    evaluator.reset_states()
    with pytest.raises(UserError, match="no image was evaluated"):
        evaluator.result()


def test_no_detections_and_no_objects(tmp_path, caplog):
    data = Data()
    none = {"num_detections": tf.zeros(BATCH, tf.int32)}
    groundtruths, predictions = data.batches[0]
    result = run(CocoEvaluator(), [(groundtruths, predictions | none)])
    assert result["AP"] == 0.0
    with caplog.at_level(logging.WARNING, logger="absl"):
        result = run(CocoEvaluator(), [(groundtruths | none, predictions)])
    assert "AP" not in result
    assert "AP is not defined" in caplog.text


def test_nan_and_classes_without_name_do_not_count(tmp_path, caplog):
    data = Data()
    path = data.write(tmp_path / "val.json")
    batches = []
    for groundtruths, predictions in data.batches:
        extra = {k: v.numpy() for k, v in predictions.items()}
        for row, number in enumerate(extra["num_detections"]):
            extra["detection_boxes"][row, number] = np.nan
            extra["detection_classes"][row, number + 1] = 90
            extra["detection_scores"][row, number : number + 2] = 1.0
        extra["num_detections"] = extra["num_detections"] + 2
        batches.append((groundtruths, extra))
    with caplog.at_level(logging.WARNING, logger="absl"):
        result = run(CocoEvaluator(path), batches)
    assert result == run(CocoEvaluator(path), data.batches)
    assert "10 detections with NaN" in caplog.text


def test_missing_fields_are_named(tmp_path):
    data = Data()
    groundtruths, predictions = data.batches[0]
    short = {k: v for k, v in predictions.items() if k != "image_info"}
    with pytest.raises(ValueError, match="no image_info"):
        CocoEvaluator().update_state(groundtruths, short)
    with pytest.raises(ValueError, match="no detection_masks"):
        CocoEvaluator(include_mask=True).update_state(groundtruths, predictions)
    with pytest.raises(ValueError, match="no source_id, height"):
        CocoEvaluator().update_state(None, predictions)
    with pytest.raises(UserError, match=r"absent\.json: cannot be read"):
        CocoEvaluator(tmp_path / "absent.json")


def test_class_names_replace_those_of_the_file(tmp_path):
    data = Data()
    path = data.write(tmp_path / "val.json")
    result = run(CocoEvaluator(path, class_names={2: "red"}), data.batches)
    assert {"AP/Platelets", "AP/red", "AP/WBC"} <= set(result)


@pytest.mark.parametrize("from_file", [True, False])
def test_ground_truth_is_checked_once(tmp_path, monkeypatch, from_file):
    """Not again for boxes, masks and proposals, nor at the next evaluation."""
    calls, check = [], coco_checks.check_ground_truth

    def counted(data, name):
        calls.append(name)
        return check(data, name)

    monkeypatch.setattr(coco_checks, "check_ground_truth", counted)
    data = Data(masks=True)
    path = data.write(tmp_path / "val.json") if from_file else None
    evaluator = CocoEvaluator(path, include_mask=True, proposal_numbers=(10,))
    batches = [
        (truth, {**found, "proposals": found["detection_boxes"]})
        for truth, found in data.batches
    ]
    values = run(evaluator, batches)
    assert {"AP", "mask_AP", "AR@10"} <= values.keys()
    assert len(calls) == 1
