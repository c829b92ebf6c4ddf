"""hotcoco behind our values: pycocotools is the judge, small cases are told by hand."""

import sys

import fake_coco
import numpy as np
import pytest
from pycocotools import mask as mask_api

from libra_tf.analysis import engine
from libra_tf.analysis.engine import LIMITS, Evaluation
from libra_tf.errors import UserError
from libra_tf.evaluation.backends import match
from libra_tf.evaluation.coco import detection_metrics, evaluate_detections
from libra_tf.evaluation.coco_checks import check_ground_truth


def checked(data):
    return check_ground_truth(data, "truth")


def truth_of(boxes, images=1):
    """Annotations (image, class, box) of two classes."""
    return checked(
        {
            "images": [{"id": i} for i in range(1, images + 1)],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "annotations": [
                {"id": 7 + k, "image_id": i, "category_id": c, "bbox": box}
                for k, (i, c, box) in enumerate(boxes)
            ],
        }
    )


def found(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("crowds", [False, True])
def test_every_figure_is_that_of_pycocotools(seed, crowds):
    truth = checked(fake_coco.fake_coco(30, seed, crowds))
    detections = fake_coco.fake_detections(fake_coco.fake_coco(30, seed, crowds), seed)
    curves = Evaluation(truth, detections).curves()
    images = {image["id"] for image in truth.images}
    judge = match(truth, detections, images, limits=LIMITS, backend="pycocotools")
    np.testing.assert_array_equal(curves.precision, judge.precision)
    np.testing.assert_array_equal(curves.recall, judge.recall)
    expected = evaluate_detections(truth, detections, backend="pycocotools")
    actual = detection_metrics(
        curves, truth, LIMITS, num_images=30, num_detections=len(detections)
    )
    assert actual == expected
    assert len(actual.summary) == 12
    # A case in which nothing is found, or all, would prove little.
    assert all(0.05 < actual.summary[name] < 0.95 for name in ("AP", "APm", "ARl"))
    assert actual.per_class["never annotated"]["AP"] is None


def test_ids_may_be_any_number():
    """The same ties, whichever way ids are ordered, and figures under their own ids."""
    numbers = {10 * k: 7 - 40 * k for k in range(1, 31)}
    classes = {1: -3, 2: 2**60, 5: 0, 9: 4}
    data = fake_coco.fake_coco(30)
    detections = fake_coco.fake_detections(data)
    for record in [*data["annotations"], *detections]:
        record["image_id"] = numbers[record["image_id"]]
        record["category_id"] = classes[record["category_id"]]
    for image in data["images"]:
        image["id"] = numbers[image["id"]]
    for category in data["categories"]:
        category["id"] = classes[category["id"]]
    truth = checked(data)
    evaluation = Evaluation(truth, detections)
    images = {image["id"] for image in truth.images}
    judge = match(truth, detections, images, limits=LIMITS, backend="pycocotools")
    np.testing.assert_array_equal(evaluation.curves().precision, judge.precision)
    assert set(evaluation.calibration().by_category) <= set(classes.values())
    _, compared = evaluation.compared_with(evaluation, samples=2, seed=0)
    assert set(compared) == {-3, 2**60, 0}


def test_only_the_best_100_of_an_image_and_class_count():
    truth = truth_of([(1, 1, [0, 0, 10, 10]), (1, 1, [50, 0, 10, 10])])
    detections = [found(1, 1, [0, 0, 10, 10], 0.9)]
    detections += [found(1, 1, [90 + k, 0, 10, 10], 0.8) for k in range(99)]
    detections += [found(1, 1, [50, 0, 10, 10], 0.7)]
    evaluation = Evaluation(truth, detections)
    judge = match(truth, detections, {1}, limits=LIMITS, backend="pycocotools")
    np.testing.assert_array_equal(evaluation.curves().recall, judge.recall)
    assert judge.recall[0, 0, 0, -1] == 0.5
    outcomes = evaluation.outcomes()
    assert outcomes.counted.sum() == 100
    assert not outcomes.counted[-1]


def test_masks_are_those_of_pycocotools():
    data = fake_coco.fake_coco(8, crowds=False)
    detections = fake_coco.fake_detections(data, noise=3.0)
    size = (fake_coco.HEIGHT, fake_coco.WIDTH)
    for record in [*data["annotations"], *detections]:
        record["segmentation"] = rectangle(record["bbox"], size)
    detections = [d for d in detections if mask_api.area(d["segmentation"])]
    for d in detections:
        # The mask's area says whether it is small, not the box's.
        d["bbox"] = [0.0, 0.0, 500.0, 500.0]
    truth = checked(data)
    curves = Evaluation(truth, detections, "segm").curves()
    images = {image["id"] for image in truth.images}
    judge = match(
        truth, detections, images, iou_type="segm", limits=LIMITS, backend="pycocotools"
    )
    np.testing.assert_array_equal(curves.precision, judge.precision)
    np.testing.assert_array_equal(curves.recall, judge.recall)


def rectangle(box, size):
    x, y, width, height = (int(v) for v in box)
    mask = np.zeros(size, np.uint8, order="F")
    mask[max(y, 0) : y + height, max(x, 0) : x + width] = 1
    code = mask_api.encode(mask)
    return {"size": list(size), "counts": code["counts"].decode()}


def test_the_kinds_of_error():
    """One of each kind, and a correct detection; counts told by hand."""
    truth = truth_of(
        [
            (1, 1, [0, 0, 10, 10]),
            (1, 1, [100, 0, 10, 10]),
            (1, 1, [200, 0, 10, 10]),
            (1, 1, [300, 0, 10, 10]),
            (1, 1, [400, 0, 10, 10]),
        ]
    )
    detections = [
        found(1, 1, [0, 0, 10, 10], 0.9),  # correct
        found(1, 1, [0, 0, 10, 11], 0.8),  # found already
        found(1, 2, [100, 0, 10, 10], 0.7),  # another class
        found(1, 1, [206, 0, 10, 10], 0.6),  # IoU 0.25
        found(1, 2, [306, 0, 10, 10], 0.5),  # both
        found(1, 1, [600, 0, 10, 10], 0.4),  # background
    ]
    tide = Evaluation(truth, detections).tide()
    kinds = {"Cls": 1, "Loc": 1, "Both": 1, "Dupe": 1, "Bkg": 1}
    assert {k: v for k, v in tide.count.items() if k != "Miss"} == kinds
    assert tide.count["Miss"] == 2  # the fourth and the fifth object
    # Recall .2 at precision 1: 21 of the 101 recalls.
    assert tide.ap50 == pytest.approx(21 / 101)
    assert tide.gain["Miss"] > 0
    assert tide.gain["Dupe"] == pytest.approx(0)


def test_the_confusion_matrix():
    truth = truth_of([(1, 1, [0, 0, 10, 10]), (1, 2, [50, 0, 10, 10])])
    detections = [
        found(1, 2, [0, 0, 10, 10], 0.9),
        found(1, 1, [90, 0, 10, 10], 0.8),
        found(1, 2, [50, 0, 10, 10], 0.3),
    ]
    matrix = Evaluation(truth, detections).confusion(0.5)
    assert matrix.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    matrix = Evaluation(truth, detections).confusion(0.3)
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_what_became_of_each_detection_and_annotation():
    data = {
        "images": [{"id": 4}],
        "categories": [{"id": 3, "name": "a"}],
        "annotations": [
            {"id": 20, "image_id": 4, "category_id": 3, "bbox": [0, 0, 10, 10]},
            {"id": 30, "image_id": 4, "category_id": 3, "bbox": [40, 0, 30, 30],
             "iscrowd": 1},
            {"id": 40, "image_id": 4, "category_id": 3, "bbox": [90, 0, 10, 10]},
        ],
    }  # fmt: skip
    detections = [
        found(4, 3, [70, 70, 5, 5], 0.2),
        found(4, 3, [0, 0, 10, 10], 0.9),
        found(4, 3, [45, 5, 10, 10], 0.8),  # on the crowd
    ]
    outcomes = Evaluation(checked(data), detections).outcomes()
    assert outcomes.correct.tolist() == [False, True, False]
    assert outcomes.counted.tolist() == [True, True, False]
    assert outcomes.annotation[1] == 1  # the first, as check_ground_truth numbers
    assert outcomes.required.tolist() == [True, False, True]


def test_calibration_of_a_detector_that_is_too_sure():
    """Of four detections with score .8 one is correct: the error is .8 - .25."""
    truth = truth_of([(i, 1, [0, 0, 10, 10]) for i in range(1, 5)], images=4)
    detections = [
        found(i, 1, [0 if i == 1 else 50, 0, 10, 10], 0.8) for i in range(1, 5)
    ]
    calibration = Evaluation(truth, detections).calibration()
    (bin_,) = (b for b in calibration.bins if b.count)
    assert (bin_.count, bin_.precision) == (4, 0.25)
    assert bin_.confidence == pytest.approx(0.8)
    assert calibration.error == pytest.approx(0.55)
    assert calibration.largest_error == pytest.approx(0.55)
    assert calibration.by_category == {1: pytest.approx(0.55)}


def test_candidates_of_wrong_annotations():
    truth = truth_of([(1, 1, [0, 0, 10, 10]), (1, 1, [50, 0, 10, 10])])
    detections = [
        found(1, 1, [90, 0, 10, 10], 0.7),  # nothing is annotated
        found(1, 2, [0, 0, 10, 10], 0.9),  # annotated as the other class
        found(1, 1, [57, 0, 10, 10], 0.95),  # badly placed: IoU .18
        found(1, 1, [120, 0, 10, 10], 0.4),  # not sure
    ]
    candidates = Evaluation(truth, detections).label_candidates(0.5)
    assert [(c.kind, c.detection) for c in candidates] == [("class", 1), ("missing", 0)]
    assert [c.annotation for c in candidates] == [1, 0]
    assert candidates[0].iou == 1


def test_a_comparison_is_paired():
    truth = checked(fake_coco.fake_coco(30))
    exact = [
        found(a["image_id"], a["category_id"], a["bbox"], 0.9)
        for a in truth.annotations
        if not a["iscrowd"]
    ]
    # The same errors in the same images, and one object less everywhere.
    first_of_image = {d["image_id"]: k for k, d in reversed(list(enumerate(exact)))}
    fewer = [d for k, d in enumerate(exact) if k not in first_of_image.values()]
    one, other = Evaluation(truth, fewer), Evaluation(truth, exact)
    figures, classes = one.compared_with(other, samples=200, seed=0)
    ap = figures["AP"]
    assert (ap.second, ap.share_better) == (1, 1)
    assert 0 < ap.low < ap.difference < ap.high
    assert ap.difference == pytest.approx(ap.second - ap.first)
    assert all(second == 1 > first for first, second in classes.values())
    assert 9 not in classes
    assert list(figures)[6:9] == ["ARmax1", "ARmax10", "ARmax100"]
    same, _ = one.compared_with(Evaluation(truth, fewer), samples=200, seed=0)
    assert (same["AP"].low, same["AP"].difference, same["AP"].high) == (0, 0, 0)
    again, _ = one.compared_with(other, samples=200, seed=0)
    assert again == figures


def test_without_hotcoco_a_line_tells_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(UserError, match=r'pip install "libra_tf\[analysis\]"'):
        engine.check_installed()
