"""Every method, on the batches that break losses: finite, compiled, static."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny

from libra_tf.experiments.files import config_files
from libra_tf.experiments.resolve import resolve

FILES = config_files()
METHODS = [
    name
    for name in FILES
    if name.startswith(("survey/", "libra/extras/", "libra/table3/", "libra/table5/"))
    and "r101" not in name
]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return tiny.dataset(tmp_path_factory.mktemp("methods"))


def load(name, records):
    params = tiny.from_file(FILES[name])
    params.task.dataset = records
    resolve(params)
    return params


def forward(task, model, images, labels):
    """Outputs of a training step, cast as Model Garden casts them."""
    if hasattr(model, "roi_sampler"):
        outputs = model(
            images,
            image_shape=labels["image_info"][:, 1, :],
            anchor_boxes=labels["anchor_boxes"],
            gt_boxes=labels["gt_boxes"],
            gt_classes=labels["gt_classes"],
            training=True,
        )
    else:
        outputs = model(images, training=True)
    return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), outputs)


def total_loss(task, outputs, labels):
    losses = task.build_losses(outputs=outputs, labels=labels)
    return losses["total_loss"] if isinstance(losses, dict) else losses[0]


def each(levels, change):
    return {level: change(value) for level, value in levels.items()}


def keep_first(targets, keep, other):
    """Only the first entry of the batch that is `keep`; other such become `other`."""
    found = False
    result = {}
    for level, target in targets.items():
        array = target.numpy().copy()
        flat = array.reshape(-1)
        for i in np.flatnonzero(keep(flat)):
            if found:
                flat[i] = other
            found = True
        result[level] = tf.constant(array)
    return result


def without_objects(labels):
    """All background, as of images without boxes or with crowds only."""
    if "gt_boxes" in labels:
        score = labels["rpn_score_targets"]
        return {
            **labels,
            "gt_boxes": -tf.ones_like(labels["gt_boxes"]),
            "gt_classes": -tf.ones_like(labels["gt_classes"]),
            "rpn_score_targets": each(score, lambda t: tf.where(t == 1, 0, t)),
            "rpn_box_targets": each(labels["rpn_box_targets"], tf.zeros_like),
        }
    changed = {
        "cls_targets": each(labels["cls_targets"], lambda t: -tf.ones_like(t)),
        "box_targets": each(labels["box_targets"], tf.zeros_like),
        "cls_weights": tf.ones_like(labels["cls_weights"]),
        "box_weights": tf.zeros_like(labels["box_weights"]),
    }
    return {**labels, **changed}


def all_ignored(labels):
    labels = without_objects(labels)
    if "gt_boxes" in labels:
        targets = labels["rpn_score_targets"]
        return {
            **labels,
            "rpn_score_targets": each(targets, lambda t: -tf.ones_like(t)),
        }
    return {**labels, "cls_weights": tf.zeros_like(labels["cls_weights"])}


def one_positive(labels):
    if "gt_boxes" in labels:
        first = tf.one_hot(0, labels["gt_boxes"].shape[1], dtype=tf.bool, on_value=True,
                           off_value=False)  # fmt: skip
        image = tf.one_hot(0, labels["gt_boxes"].shape[0], on_value=True,
                           off_value=False, dtype=tf.bool)  # fmt: skip
        kept = image[:, tf.newaxis] & first[tf.newaxis]
        boxes = tf.where(kept[..., tf.newaxis], labels["gt_boxes"], -1.0)
        return {
            **labels,
            "gt_boxes": boxes,
            "gt_classes": tf.where(kept, labels["gt_classes"], -1),
            "rpn_score_targets": keep_first(
                labels["rpn_score_targets"], lambda t: t == 1, 0
            ),
        }
    weights = labels["box_weights"].numpy()
    flat = np.flatnonzero(weights.reshape(-1))
    weights.reshape(-1)[flat[1:]] = 0
    # Targets are given by level, weights for all levels in one row.
    targets, start = {}, 0
    for level, target in labels["cls_targets"].items():
        array = target.numpy()
        batch, size = array.shape[0], array[0].size
        mask = weights[:, start : start + size].reshape(array.shape) > 0
        targets[level] = tf.constant(np.where(mask, array, -1))
        start += size
        assert batch == weights.shape[0]
    return {**labels, "cls_targets": targets, "box_weights": tf.constant(weights)}


CASES = {
    "as_is": lambda labels: labels,
    "without_objects": without_objects,
    "all_ignored": all_ignored,
    "one_positive": one_positive,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradient_are_finite(name, records):
    params = load(name, records)
    task, model = tiny.build(params)
    images, labels = tiny.first_batch(task, params.task.train_data)
    task.initialize(model)

    @tf.function(jit_compile=True)
    def step(images, labels, scale):
        with tf.GradientTape() as tape:
            outputs = forward(task, model, images, labels)
            # Factor 0 makes all scores and deltas equal: ties everywhere.
            predictions = {
                key: tf.nest.map_structure(lambda x: x * scale, value)
                if key.endswith(("outputs", "scores", "boxes"))
                else value
                for key, value in outputs.items()
            }
            loss = total_loss(task, predictions, labels)
        gradients = tape.gradient(loss, model.trainable_variables)
        flat = [tf.reduce_max(tf.abs(g)) for g in gradients if g is not None]
        return loss, tf.stack(flat)

    for case, change in CASES.items():
        for scale in (1.0, 0.0):
            loss, gradients = step(images, change(labels), tf.constant(scale))
            assert np.isfinite(loss), (case, scale, loss)
            assert np.all(np.isfinite(gradients)), (case, scale)
            if case == "as_is" and scale:
                assert loss > 0
                assert np.max(gradients) > 0
    if "cls_targets" in labels:
        # Model Garden computes RetinaNet's losses in validation too, where labels do
        # not tell objects apart.
        labels = {k: v for k, v in labels.items() if k != "attribute_targets"}
        before = [state.read() for state in model.loss_states.values()]
        outputs = forward(task, model, images, labels)
        loss = total_loss(task, outputs, {**labels, "groundtruths": {}})
        assert np.isfinite(loss)
        for state, value in zip(model.loss_states.values(), before, strict=True):
            np.testing.assert_array_equal(state.read(), value)


@pytest.fixture
def mixed_precision():
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in METHODS if n.startswith("survey/")])
def test_losses_are_float32_under_mixed_precision(name, records, mixed_precision):
    params = load(name, records)
    task, model = tiny.build(params)
    images, labels = tiny.first_batch(task, params.task.train_data)
    task.initialize(model)
    with tf.GradientTape() as tape:
        loss = total_loss(task, forward(task, model, images, labels), labels)
    assert loss.dtype == tf.float32
    assert np.isfinite(loss)
    assert loss > 0
    found = zip(
        tape.gradient(loss, model.trainable_variables),
        model.trainable_variables,
        strict=True,
    )
    for gradient, variable in found:
        assert variable.dtype == tf.float32
        assert gradient is None or np.all(np.isfinite(gradient)), variable.name
