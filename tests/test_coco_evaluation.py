"""COCO metrics: values found by hand, both matchers, hostile files."""

import contextlib
import io
import json
import math

import numpy as np
import pytest

from libra_tf.errors import UserError
from libra_tf.evaluation.coco import evaluate_detections
from libra_tf.evaluation.coco_results import to_coco_results
from libra_tf.evaluation.metrics_table import format_table, to_json_dict
from libra_tf.evaluation.proposals import evaluate_proposals
from libra_tf.files.json_files import read_json, write_json

BACKENDS = ["pycocotools", "faster"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "faster":
        pytest.importorskip("faster_coco_eval")
    return request.param


def truth(*objects, images=(1, 2), categories=("RBC", "WBC")):
    """COCO annotations from (image, category, box) tuples."""
    return {
        "images": [{"id": i, "width": 640, "height": 480} for i in images],
        "categories": [{"id": i, "name": n} for i, n in enumerate(categories, 1)],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": list(b)}
            for k, (i, c, b) in enumerate(objects)
        ],
    }


def found(image_id, category_id, bbox, score=0.9):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(bbox),
        "score": score,
    }


def random_case(num_images=40, seed=0):
    """A data set of three classes with crowds, and detections of mixed quality."""
    rng = np.random.default_rng(seed)
    objects = [
        (i, int(rng.integers(1, 4)), [*rng.uniform(0, 300, 2), *rng.uniform(8, 150, 2)])
        for i in range(1, num_images + 1)
        for _ in range(rng.integers(0, 9))
    ]
    data = truth(*objects, images=range(1, num_images + 1), categories="abc")
    for annotation in data["annotations"][::9]:
        annotation["iscrowd"] = 1
    results = [
        found(i, c, np.add(b, rng.normal(0, 5, 4)).clip(1).tolist(), rng.random())
        for i, c, b in objects * 2
    ]
    # Scores with two digits: ties must not part the matchers.
    return data, [{**r, "score": round(r["score"], 2)} for r in results]


BOX = [100, 100, 40, 50]  # 2000 square pixels: medium


def test_perfect_half_and_nothing_by_hand(backend):
    # RBC: both found. WBC: one of two found, so precision is 1 up to recall 0.5:
    # 51 of COCO's 101 recall points.
    data = truth((1, 1, BOX), (2, 1, BOX), (1, 2, [300, 10, 40, 50]), (2, 2, BOX))
    results = [found(1, 1, BOX), found(2, 1, BOX), found(2, 2, BOX)]
    metrics = evaluate_detections(data, results, backend=backend)
    wbc = 51 / 101
    assert metrics.per_class["RBC"]["AP"] == pytest.approx(1.0)
    assert metrics.per_class["WBC"]["AP"] == pytest.approx(wbc)
    assert metrics.per_class["WBC"]["AR"] == pytest.approx(0.5)
    assert metrics.summary["AP"] == pytest.approx((1 + wbc) / 2)
    assert metrics.summary["APm"] == pytest.approx((1 + wbc) / 2)
    assert metrics.summary["APs"] is None
    assert metrics.summary["APl"] is None
    assert metrics.summary["ARm"] == pytest.approx(0.75)


def test_iou_thresholds_by_hand(backend):
    # Same size, shifted by a quarter: IoU .75 / 1.25 = .6, so .50, .55 and .60 match
    # (COCO's test is "not below").
    data = truth((1, 1, [100, 100, 40, 40]))
    metrics = evaluate_detections(
        data, [found(1, 1, [110, 100, 40, 40])], backend=backend
    )
    assert metrics.summary["AP"] == pytest.approx(0.3)
    assert metrics.summary["AP50"] == pytest.approx(1.0)
    assert metrics.summary["AP75"] == 0.0
    assert metrics.ap_by_iou[0.6] == pytest.approx(1.0)
    assert metrics.ap_by_iou[0.65] == 0.0
    assert list(metrics.ap_by_iou)[::9] == [0.5, 0.95]


def test_image_without_detections_counts_unless_left_out(backend):
    data = truth((1, 1, BOX), (2, 1, BOX))
    everything = evaluate_detections(data, [found(1, 1, BOX)], backend=backend)
    assert everything.summary["ARmax100"] == pytest.approx(0.5)
    assert everything.num_images_evaluated == everything.num_images == 2
    some = evaluate_detections(data, [found(1, 1, BOX)], image_ids=[1], backend=backend)
    assert some.summary["AP"] == pytest.approx(1.0)
    assert (some.num_images, some.num_images_evaluated) == (2, 1)


def test_no_detections_is_zero_not_a_crash(backend):
    metrics = evaluate_detections(truth((1, 1, BOX)), [], backend=backend)
    assert metrics.summary["AP"] == 0.0
    assert metrics.summary["ARmax100"] == 0.0
    assert metrics.per_class["RBC"]["AP"] == 0.0
    assert metrics.per_class["WBC"]["AP"] is None
    assert metrics.num_detections == 0


def test_no_ground_truth_is_none(backend):
    metrics = evaluate_detections(truth(), [found(1, 1, BOX)], backend=backend)
    assert set(metrics.summary.values()) == {None}


def test_more_than_100_detections(backend):
    # The true box has the lowest of 250 scores: only a limit above 250 sees it.
    noise = [found(1, 1, [300, 300, 9, 9], 0.9) for _ in range(249)]
    data = truth((1, 1, BOX))
    results = [*noise, found(1, 1, BOX, 0.1)]
    wide = evaluate_detections(data, results, max_detections=300, backend=backend)
    assert wide.summary["ARmax300"] == 1.0
    assert wide.summary["AP"] == pytest.approx(1 / 250)
    narrow = evaluate_detections(data, results, backend=backend)
    assert narrow.summary["ARmax100"] == 0.0
    tiny = evaluate_detections(data, results, max_detections=5, backend=backend)
    assert [k for k in tiny.summary if "max" in k] == ["ARmax1", "ARmax5"]


def test_annotation_id_zero_is_an_object_like_any_other(backend):
    # Plain pycocotools takes a match with id 0 for "not matched".
    data = truth((1, 1, BOX))
    assert data["annotations"][0]["id"] == 0
    metrics = evaluate_detections(data, [found(1, 1, BOX)], backend=backend)
    assert metrics.summary["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("limit", [1, 100, 300])
def test_matchers_agree(limit):
    pytest.importorskip("faster_coco_eval")
    data, results = random_case()
    one, other = (
        to_json_dict(
            evaluate_detections(data, results, max_detections=limit, backend=b)
        )
        for b in BACKENDS
    )
    assert one["summary"] == pytest.approx(other["summary"], abs=1e-12)
    assert 0.1 < one["summary"]["AP"] < 0.9
    for name, row in one["per_class"].items():
        assert row == pytest.approx(other["per_class"][name], abs=1e-12)


def test_summary_is_that_of_pycocotools():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data, results = random_case(seed=1)
    ours = evaluate_detections(data, results).summary
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(data))
        for annotation in coco.dataset["annotations"]:
            annotation["id"] += 1
            annotation.setdefault("iscrowd", 0)
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
        coco.createIndex()
        theirs = COCOeval(coco, coco.loadRes(results), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    assert list(ours.values()) == pytest.approx(theirs.stats.tolist(), abs=1e-12)


def test_mask_ap_by_hand(backend):
    # The boxes are equal, the masks share half of the object: IoU 0.5.
    whole, half = np.zeros((2, 480, 640), bool)
    whole[100:140, 100:140] = half[100:140, 100:120] = True
    box = np.array([[100, 100, 140, 140]])
    truth_mask, mask = (
        to_coco_results(1, box, [1], [0.9], m[None]) for m in (whole, half)
    )
    data = truth((1, 1, [100, 100, 40, 40]), images=[1])
    data["annotations"][0]["segmentation"] = truth_mask[0]["segmentation"]
    results = json.loads(json.dumps(mask))
    boxes = evaluate_detections(data, results, backend=backend)
    masks = evaluate_detections(data, results, iou_type="segm", backend=backend)
    assert boxes.summary["AP"] == pytest.approx(1.0)
    assert masks.summary["AP"] == pytest.approx(0.1)
    del results[0]["segmentation"]
    with pytest.raises(UserError, match=r"record 1 \(image 1\) has no mask"):
        evaluate_detections(data, results, iou_type="segm", backend=backend)


def test_class_names_that_occur_twice_stay_apart():
    data = truth((1, 1, BOX), (1, 2, BOX), categories=["cell", "cell", "x"])
    metrics = evaluate_detections(data, [found(1, 1, BOX)])
    assert metrics.per_class["cell (id 1)"]["AP"] == pytest.approx(1.0)
    assert metrics.per_class["cell (id 2)"]["AP"] == 0.0
    assert metrics.per_class["x"]["num_ground_truth"] == 0


def test_crowds_are_neither_missed_nor_counted(backend):
    data = truth((1, 1, BOX), (1, 1, [300, 300, 100, 100]))
    data["annotations"][1]["iscrowd"] = 1
    results = [found(1, 1, BOX, 0.5), found(1, 1, [310, 310, 40, 40], 0.9)]
    metrics = evaluate_detections(data, results, backend=backend)
    assert metrics.summary["AP"] == pytest.approx(1.0)
    assert metrics.per_class["RBC"]["num_ground_truth"] == 1


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (found(77, 1, BOX), "image ids not in the annotation file: 77"),
        (found("1", 1, BOX), "image ids not in the annotation file: '1'"),
        (found(1, 9, BOX), "category ids not in the annotation file: 9"),
        (found(1, 1, [1, 2, 3]), r"result 2 \(image 1\): bbox"),
        (found(1, 1, [1, 2, 3, math.nan]), r"result 2 \(image 1\): bbox"),
        (found(1, 1, BOX, None), r"result 2 \(image 1\): bbox and score"),
        ({"image_id": 1}, "result 2 has no bbox, score, category_id"),
        ([], "result 2 has no image_id"),
    ],
)
def test_malformed_detections_are_named(result, message):
    with pytest.raises(UserError, match=message):
        evaluate_detections(truth((1, 1, BOX)), [found(1, 1, BOX), result])


def test_only_the_first_unknown_ids_are_listed():
    results = [found(i, 1, BOX) for i in range(11, 31)]
    with pytest.raises(UserError, match="11, 12, 13, 14, 15 and 15 more"):
        evaluate_detections(truth((1, 1, BOX)), results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "no list 'images'"),
        ({"images": []}, "lists no images"),
        ({"images": [{"id": "a"}]}, "image id 'a' is not a whole number"),
        ({"images": [{"id": 1}, {"id": 1}]}, "image id 1 occurs twice"),
        ({"images": [{"id": 2}]}, "annotation 1 of 1: image id 1 is not among"),
        ({"categories": [{"id": 5}]}, "annotation 1 of 1: unknown category id 1"),
        ({"annotations": [{"image_id": 1, "category_id": 1}]}, "bbox"),
        ({"annotations": ["x"]}, "annotation 1 of 1: is not an object"),
    ],
)
def test_malformed_ground_truth_is_named(tmp_path, change, message):
    path = tmp_path / "val.json"
    write_json(path, truth((1, 1, BOX)) | change)
    with pytest.raises(UserError, match=rf"val\.json: .*{message}"):
        evaluate_detections(path, [])


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100000, "[1]", "{}", "null"])
def test_files_that_are_no_coco_files(tmp_path, text):
    path = tmp_path / "val.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"val\.json: is "):
        evaluate_detections(path, [])
    with pytest.raises(UserError, match="cannot be read"):
        evaluate_detections(tmp_path / "absent.json", [])


def test_unknown_choices_are_refused():
    data = truth((1, 1, BOX))
    with pytest.raises(UserError, match="has no image 9"):
        evaluate_detections(data, [], image_ids=[1, 9])
    with pytest.raises(UserError, match="choose auto"):
        evaluate_detections(data, [], backend="fast")
    with pytest.raises(UserError, match="choose bbox or segm"):
        evaluate_detections(data, [], iou_type="box")


def test_evaluation_leaves_its_arguments_alone(backend):
    data, results = random_case(num_images=3)
    before = json.dumps([data, results])
    evaluate_detections(data, results, backend=backend)
    assert json.dumps([data, results]) == before


def test_proposal_recall_by_hand(backend):
    # Image 1: a small and a large object, hit by proposals 1 and 150. Image 2: a
    # large one, hit at IoU .6 (three of ten thresholds) by proposal 2. Classes differ
    # and do not matter.
    small, large = [10, 10, 20, 20], [100, 100, 100, 100]
    data = truth((1, 1, small), (1, 2, large), (2, 1, large))
    nothing = [400.0, 400.0, 5.0, 5.0]
    boxes = {
        1: np.array([small, *[nothing] * 148, large], float),
        2: np.array([nothing, [125, 100, 100, 100]]),
    }
    recall = evaluate_proposals(data, boxes, backend=backend)
    assert recall["AR@100"] == pytest.approx((1 + 0.3) / 3)
    assert recall["AR@300"] == recall["AR@1000"] == pytest.approx(2.3 / 3)
    assert recall["ARs@1000"] == 1.0
    assert recall["ARm@1000"] is None
    assert recall["ARl@1000"] == pytest.approx(1.3 / 2)
    records = [
        {"image_id": i, "bbox": b.tolist(), "score": 1 / (1 + rank)}
        for i, rows in boxes.items()
        for rank, b in enumerate(rows)
    ]
    assert evaluate_proposals(data, records[::-1], backend=backend) == recall


def test_proposal_recall_does_not_depend_on_the_parts(monkeypatch):
    data, results = random_case()
    whole = evaluate_proposals(data, results, numbers=(1, 3, 100))
    monkeypatch.setattr("libra_tf.evaluation.proposals.IMAGES_AT_A_TIME", 7)
    parts = evaluate_proposals(data, results, numbers=(1, 3, 100))
    assert parts == pytest.approx(whole, abs=1e-12)
    assert 0 < whole["AR@1"] < whole["AR@3"] < whole["AR@100"] < 1


def test_table_and_json():
    data = truth((1, 1, BOX), categories=["RBC", "a rather long name"])
    metrics = evaluate_detections(data, [found(1, 1, BOX)])
    table = format_table(metrics, "validation")
    assert table.startswith("validation\nboxes: 1 detections on 2 of 2 images")
    assert "RBC" in table
    assert "n/a" in table
    assert max(map(len, table.splitlines())) <= 80
    values = json.loads(json.dumps(to_json_dict(metrics)))
    assert values["ap_by_iou"]["0.50"] == pytest.approx(1.0)
    assert values["summary"]["APs"] is None


def test_results_are_plain_numbers_and_keep_their_score(tmp_path):
    scores = np.nextafter(np.float32(0.75), np.float32([0, 1]))
    boxes = np.array([[1.5, 2.25, 11.5, 22.75]] * 2, np.float32)
    results = to_coco_results(np.int64(7), boxes, np.array([1.0, 2.0]), scores)
    write_json(tmp_path / "deep" / "results.json", results)
    back = read_json(tmp_path / "deep" / "results.json")
    assert back == results
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["results.json"]
    assert back[0]["bbox"] == [2.25, 1.5, 20.5, 10.0]
    assert back[0]["image_id"] == 7
    assert [r["category_id"] for r in back] == [1, 2]
    assert [np.float32(r["score"]) for r in back] == scores.tolist()
