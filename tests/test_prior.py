"""tasks.prior: counts by brute force, and the file that keeps them."""

from __future__ import annotations

import contextlib
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tiny
from official.core import task_factory
from tolerances import ELEMENTWISE, REDUCTION, assert_close, tolerance

from libra_tf.data.convert import convert
from libra_tf.data.layout import layout_sources
from libra_tf.data.synthesize import synthesize
from libra_tf.errors import UserError
from libra_tf.experiments.saved import override
from libra_tf.ops.logits import logit
from libra_tf.tasks import prior
from libra_tf.tasks.prior import AnchorPrior, cached_prior, count_dense, count_rpn

IMAGES = 13  # no multiple of the batch size, 4


def converted(folder, seed=3, num_shards=3) -> str:
    """More than one file, of which a pipeline reads several copies at a time."""
    shapes, records = folder / f"shapes{seed}", folder / "records"
    synthesize(shapes, num_train=IMAGES, num_val=2, size=tiny.SIZE, seed=seed)
    for split, content, images in layout_sources(shapes):
        convert(content, images, records, split, quiet=True, num_shards=num_shards)
    return str(records)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return converted(tmp_path_factory.mktemp("prior"))


def experiment(kind, records, prior_settings):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    tiny.point_to(params, records)
    # Flipped images have anchors of other overlaps.
    changes = {
        "dataset": records,
        "model": {"prior": prior_settings},
        "train_data": {"parser": {"aug_rand_hflip": False}},
    }
    override(params, {"task": changes}, "test")
    return params


@pytest.fixture(scope="module")
def retinanet(records):
    """A task that counts, and its model."""
    settings = {"from_data": True, "score_threshold": "class_prior"}
    return tiny.build(experiment("retinanet", records, settings))


@pytest.fixture(scope="module")
def fasterrcnn(records):
    """The same of an RPN."""
    return tiny.build(experiment("fasterrcnn", records, {"from_data": True}))


@contextlib.contextmanager
def changed(task, **settings):
    """Other settings of the prior for a while."""
    config = task.task_config.model.prior
    before = config.as_dict()
    config.override(settings)
    yield
    config.override(before)


def bias_of(model):
    head = model.rpn_head if model.is_two_stage else model.head
    return head._classifier.bias


def brute_force(records, anchors, thresholds):
    """Positives of each class, and labelled anchors, image by image."""
    with open(f"{records}/train.json", encoding="utf-8") as file:
        content = json.load(file)
    anchors = np.concatenate([x.numpy().reshape(-1, 4) for x in anchors.values()])
    positives, labelled = np.zeros(4), 0
    for image in content["images"]:
        found = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        x, y, w, h = np.float32([a["bbox"] for a in found]).T
        classes = np.array([a["category_id"] for a in found])
        iou = numpy_iou(anchors, np.stack([y, x, y + h, x + w], 1))
        positive, owner = iou.max(1) >= thresholds[1], iou.argmax(1)
        for i in reversed(range(len(classes))):  # each object has its best anchor
            best = iou[:, i].argmax()
            positive[best], owner[best] = True, i
        negative = ~positive & (iou.max(1) < thresholds[0])
        positives += np.bincount(classes[owner[positive]], minlength=4)
        labelled += np.sum(positive | negative)
    return positives, labelled


def numpy_iou(a, b):
    """In float32 as the detector, since many anchors overlap a box equally."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), -1)
    areas = [np.prod(x[:, 2:] - x[:, :2], -1) for x in (a, b)]
    return both / (areas[0][:, None] + areas[1][None] - both)


def test_the_prior_of_retinanet_counts_every_image_once(retinanet, records):
    task, model = retinanet
    task.initialize(model)
    _, labels = tiny.first_batch(task, prior.one_pass(task.task_config.train_data))
    positives, labelled = brute_force(records, labels["anchor_boxes"], (0.4, 0.5))
    assert positives[1:].min() > 0
    # Class 0 is never used.
    expected = positives.sum() / (labelled * 3)
    bias = math.log(expected / (1 - expected))
    assert_close(bias_of(model).numpy(), bias, of=REDUCTION)
    thresholds = model.detection_generator.class_thresholds.numpy()
    assert_close(thresholds[1:], positives[1:] / labelled, of=ELEMENTWISE)


def test_the_prior_of_an_rpn_counts_anchors_before_the_draw(fasterrcnn, records):
    task, model = fasterrcnn
    task.initialize(model)
    _, labels = tiny.first_batch(task, prior.one_pass(task.task_config.train_data))
    positives, labelled = brute_force(records, labels["anchor_boxes"], (0.3, 0.7))
    expected = positives.sum() / labelled
    bias = math.log(expected / (1 - expected))
    assert_close(bias_of(model).numpy(), bias, of=REDUCTION)
    assert np.all(model.rpn_head._box_regressor.bias.numpy() == 0)


def test_the_count_is_kept_with_the_data(retinanet, records, monkeypatch):
    task, model = retinanet
    task.initialize(model)
    bias = bias_of(model).numpy()
    bias_of(model).assign(tf.zeros_like(bias))

    def fail(*arguments):
        raise AssertionError("counted again")

    monkeypatch.setattr(prior, "measure_prior", fail)
    task.initialize(model)
    np.testing.assert_array_equal(bias_of(model).numpy(), bias)
    parser = task.task_config.train_data.parser
    monkeypatch.setattr(parser, "match_threshold", 0.6)
    with pytest.raises(AssertionError, match="counted again"):
        task.initialize(model)


def test_data_converted_again_is_counted_again(tmp_path):
    settings = {"from_data": True}
    found = []
    for seed in (3, 4):
        records = converted(tmp_path, seed=seed)
        params = experiment("retinanet", records, settings)
        task = task_factory.get_task(params.task)
        data = task.build_inputs(prior.one_pass(params.task.train_data))

        def count(labels):
            return count_dense(labels, 4)

        found.append(prior.prior_of_task(task, data, count, "retinanet"))
    assert found[0] != found[1]
    assert len(list((tmp_path / "records").glob("anchor_prior-*.json"))) == 2
    for image in found:
        assert min(image.positives[1:]) > 0


def test_a_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir(), run.mkdir()
    write = prior.write_text

    def refuse(path, pieces):
        if path.parent == data:
            raise PermissionError(13, "Permission denied", str(path))
        write(path, pieces)

    monkeypatch.setattr(prior, "write_text", refuse)
    calls = []

    def measure():
        calls.append(1)
        return AnchorPrior([0.0, 5.0], 100.0)

    folders = (str(data), str(run))
    first = cached_prior(measure, {"kind": "x"}, folders)
    assert [len(list(folder.iterdir())) for folder in (data, run)] == [0, 1]
    assert cached_prior(measure, {"kind": "x"}, folders) == first
    assert calls == [1]
    assert cached_prior(measure, {"kind": "y"}, folders) == first
    assert calls == [1, 1]


@pytest.mark.parametrize("folders", [(), ("", None), ("/there/is/none",)])
def test_without_a_folder_it_is_counted_each_time(folders):
    measured = AnchorPrior([0.0, 5.0], 100.0)
    assert cached_prior(lambda: measured, {}, folders) == measured


def test_the_file_tells_what_was_counted(tmp_path):
    settings = {"kind": "rpn", "levels": [2, 5]}
    cached_prior(lambda: AnchorPrior([5.0], 100.0), settings, [str(tmp_path)])
    (path,) = tmp_path.iterdir()
    content = json.loads(path.read_text())
    assert content == {"foreground": [5.0], "num_anchors": 100.0, "settings": settings}


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"foreground": [1.0], "num_an',
        "[1, 2]",
        "7",
        '{"foreground": [1.0]}',
        '{"foreground": null, "num_anchors": 9}',
        '{"foreground": ["many"], "num_anchors": 9}',
        '{"foreground": [], "num_anchors": 9}',
        '{"foreground": [0, 0], "num_anchors": 9}',
        '{"foreground": [0, 1], "num_anchors": 0}',
        '{"foreground": [0, 20], "num_anchors": 9}',
        '{"foreground": [0, NaN], "num_anchors": 9}',
        "\\udcff",
    ],
)
def test_a_damaged_file(tmp_path, content):
    def read():
        return cached_prior(lambda: AnchorPrior([5.0], 100.0), {}, [str(tmp_path)])

    read()
    (path,) = tmp_path.iterdir()
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"is damaged .* remove it") as error:
        read()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_of_the_release():
    """COCO: about 1e-5 for RetinaNet with 80 classes, 2e-4 for the RPN."""
    counted = AnchorPrior([0.0] + [1.0] * 80, 1e5)
    assert counted.num_classes == 80
    assert counted.probability == pytest.approx(1e-5)
    assert counted.bias == pytest.approx(-11.512915, abs=tolerance(ELEMENTWISE))
    rpn = AnchorPrior([20.0], 1e5)
    assert (rpn.num_classes, rpn.probability) == (1, pytest.approx(2e-4))
    assert rpn.bias == pytest.approx(-8.516993, abs=tolerance(ELEMENTWISE))
    assert logit(0.01) == pytest.approx(-4.59512, abs=tolerance(REDUCTION))
    assert logit(0.5) == 0


def test_a_class_without_positives_has_the_prior_of_all():
    counted = AnchorPrior([0.0, 30.0, 0.0, 60.0], 1000.0)
    expected = [0.03, 0.03, 0.03, 0.06]
    found = counted.thresholds("class_prior")
    assert found.dtype == np.float32
    assert_close(found, expected, of=ELEMENTWISE)


def dense_labels(rows):
    """Two levels of one row each; -2 ignored."""
    rows = np.array(rows)
    targets = np.maximum(rows, -1)[:, None, :, None]
    return {
        "cls_targets": {
            "3": tf.constant(targets[:, :, :2]), "4": tf.constant(targets[:, :, 2:])
        },
        "cls_weights": tf.constant(rows != -2, tf.float32),
    }  # fmt: skip


def test_ignored_anchors_do_not_count():
    positive, valid = count_dense(dense_labels([[1, -1, -2], [2, 2, -1]]), 4)
    assert positive.numpy().tolist() == [0, 1, 2, 0]
    assert int(valid) == 5
    targets = {"2": tf.constant([[[[1], [-1]]]]), "3": tf.constant([[[[0], [1]]]])}
    positive, valid = count_rpn({"rpn_score_targets": targets})
    assert positive.numpy().tolist() == [2]
    assert int(valid) == 3


def test_data_without_objects(records):
    data = tf.data.Dataset.from_tensors((0, dense_labels([[-1, -1, -2]]))).repeat()
    params = SimpleNamespace(input_path=f"{records}/train-*.tfrecord")
    with pytest.raises(UserError, match=r"no anchor of .* is an object"):
        prior.measure_prior(data, params, lambda labels: count_dense(labels, 4))


@pytest.mark.parametrize("several", ["comma", "list"])
def test_as_many_batches_as_there_are_records(records, several):
    data = tf.data.Dataset.from_tensors((0, dense_labels([[1, -1, -2]]))).repeat()
    paths = [f"{records}/train-*.tfrecord", f"{records}/val-*.tfrecord"]
    params = SimpleNamespace(input_path=paths if several == "list" else ",".join(paths))
    counted = prior.measure_prior(data, params, lambda labels: count_dense(labels, 4))
    assert counted == AnchorPrior([0, IMAGES + 2, 0, 0], 2 * (IMAGES + 2))


@pytest.mark.parametrize("kind", ["retinanet", "fasterrcnn"])
def test_a_prior_that_is_given(kind, request):
    task, model = request.getfixturevalue(kind)
    with changed(task, value=1e-3, from_data=False, score_threshold="fixed"):
        task.initialize(model)
    expected = np.log(1e-3 / (1 - 1e-3))
    assert_close(bias_of(model).numpy(), expected, of=ELEMENTWISE)


def test_without_a_prior_the_bias_is_model_gardens(retinanet):
    task, model = retinanet
    before = bias_of(model).numpy()
    with changed(task, from_data=False, score_threshold="fixed"):
        task.initialize(model)
    np.testing.assert_array_equal(bias_of(model).numpy(), before)


def test_the_threshold_of_the_release(retinanet):
    """The prior times the number of classes, background included."""
    task, model = retinanet
    with changed(task, score_threshold="global_prior"):
        task.initialize(model)
    expected = 4 / (1 + math.exp(-bias_of(model).numpy()[0]))
    thresholds = model.detection_generator.class_thresholds.numpy()
    assert_close(thresholds, [expected] * 4, of=REDUCTION)
