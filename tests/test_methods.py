"""Every method, on the batches that break losses: finite, compiled, in float32.

A whole training step takes XLA most of a minute to compile, and most of it is the same
backbone. So each method's loss is compiled alone, on the outputs of a detector that all
methods of one architecture share, with the gradient down to those outputs; and one
whole step is compiled for each detector.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf import tasks
from libra_tf.experiments.files import config_files
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import override

pytestmark = pytest.mark.usefixtures("traced_nms")
FILES = config_files()
METHODS = [
    name
    for name in FILES
    if name.startswith(("survey/", "libra/extras/", "libra/table3/", "libra/table5/"))
    and "r101" not in name
    # The complete method times a number.
    and "half_box_weight" not in name
]


def load(name, records):
    params = tiny.from_file(FILES[name])
    params.task.dataset = records
    resolve(params)
    return params


class Built(NamedTuple):
    """A task, its detector, one batch of its data, and its outputs in training."""

    experiment: str
    task: Any
    model: Any
    labels: dict
    outputs: Callable[[dict], dict]


# Emptied after this file: it holds every detector of it.
CACHE: dict[str, Any] = {}
BUILDERS = {tasks.maskrcnn: "build_maskrcnn", tasks.retinanet: "build_retinanet"}


@pytest.fixture(autouse=True, scope="module")
def empty_cache(free_memory):
    yield
    CACHE.clear()


def once(make, *key):
    """What `make()` returned for the same key before, else what it returns now."""
    text = json.dumps([tf_keras.mixed_precision.global_policy().name, *key])
    if text not in CACHE:
        CACHE[text] = make()
    return CACHE[text]


def shared(build, config):
    """A builder that builds each model once."""
    return lambda *a, **k: once(lambda: build(*a, **k), build.__name__, config)


def build(name, records, monkeypatch):
    """The detector of a file; files of one architecture share model and forward pass.

    Model and batch are made by the task, which goes through all that a run does.
    """
    params = load(name, records)
    config, data = params.task.model.as_dict(), params.task.train_data
    for module, function in BUILDERS.items():
        monkeypatch.setattr(module, function, shared(getattr(module, function), config))
    task, model = tiny.build(params)
    labelled = [config["anchor"], config.get("rpn_sampler"), data.as_dict()]
    instances = params.task.losses.isr.enabled  # then labels tell objects apart
    images, labels = once(
        lambda: tiny.first_batch(task, data), params.experiment, instances, labelled
    )
    task.initialize(model)
    # Without a graph, which takes longer to make than it saves in five runs.
    run = functools.partial(forward, model, images)
    weights = len(model.weights)
    as_is = once(lambda: run(labels), "outputs", config, instances, labelled)
    assert len(model.weights) == weights
    depends = model.is_two_stage  # RetinaNet's outputs know no labels

    def outputs(changed):
        return run(changed) if depends and changed is not labels else as_is

    return Built(params.experiment, task, model, labels, outputs)


def forward(model, images, labels):
    """Outputs of a training step, cast as Model Garden casts them."""
    if model.is_two_stage:
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


def without_objects(labels, is_two_stage):
    """All background, as of images without boxes or with crowds only."""
    if is_two_stage:
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


def all_ignored(labels, is_two_stage):
    labels = without_objects(labels, is_two_stage)
    if is_two_stage:
        targets = labels["rpn_score_targets"]
        return {
            **labels,
            "rpn_score_targets": each(targets, lambda t: -tf.ones_like(t)),
        }
    return {**labels, "cls_weights": tf.zeros_like(labels["cls_weights"])}


def one_positive(labels, is_two_stage):
    if is_two_stage:
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
    "as_is": lambda labels, _: labels,
    "without_objects": without_objects,
    "all_ignored": all_ignored,
    "one_positive": one_positive,
}


def predictions_of(outputs):
    """What the model predicts, apart from what it was given or chose."""
    return {
        k: v for k, v in outputs.items() if k.endswith(("outputs", "scores", "boxes"))
    }


def loss_and_gradients(task, outputs, labels):
    """Total loss, and its gradient to every predicted tensor."""
    predictions = predictions_of(outputs)
    flat = tf.nest.flatten(predictions)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        loss = total_loss(task, outputs | predictions, labels)
    return loss, tape.gradient(loss, flat, unconnected_gradients="zero")


def compiled_loss(built):
    """Its loss under XLA; methods that differ before the loss only share it.

    Those are neck and RoI sampler, whose outputs are compared with their eager loss.
    """
    config = built.task.task_config
    model = config.model.as_dict()
    for part in ("neck", "roi_sampler"):
        model.pop(part, None)
    return once(
        lambda: tf.function(
            functools.partial(loss_and_gradients, built.task),
            autograph=False,
            jit_compile=True,
        ),
        "compiled",
        built.experiment,
        model,
        config.losses.as_dict(),
        id(built.model) if getattr(built.model, "loss_states", {}) else None,
    )


# These have the loss of the complete method: they differ in the neck, which is built
# (`test_configs`), differentiated and compiled by itself every day.
def marks(name):
    is_neck = name.startswith("libra/table5/")
    return pytest.mark.nightly if is_neck else pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n)) for n in METHODS])
def test_loss_and_gradient_are_finite(name, records, monkeypatch):
    built = build(name, records, monkeypatch)
    compiled = compiled_loss(built)
    for case, change in CASES.items():
        labels = change(built.labels, built.model.is_two_stage)
        outputs = built.outputs(labels)
        # Factor 0 makes all scores and deltas equal: ties everywhere.
        ties = tf.nest.map_structure(tf.zeros_like, predictions_of(outputs))
        for scale, given in ((1, outputs), (0, outputs | ties)):
            loss, gradients = compiled(given, labels)
            assert np.isfinite(loss), (case, scale, loss)
            assert all(np.all(np.isfinite(g)) for g in gradients), (case, scale)
            if case == "as_is" and scale:
                assert loss > 0
                assert max(np.abs(g).max() for g in gradients) > 0
                check_eager(built, given, labels, compiled)
    if not built.model.is_two_stage:
        check_validation_loss(built)


def losses_from_one_state(built, functions):
    """What functions return that may move the states of the losses."""
    states = getattr(built.model, "loss_states", {})
    before = {key: state.read() for key, state in states.items()}
    found = []
    for function in functions:
        for key, value in before.items():
            states[key].assign(value)
        found.append(function())
    return found


def check_eager(built, outputs, labels, compiled):
    """Without XLA the loss and its gradients are the same."""
    eager = functools.partial(loss_and_gradients, built.task)
    (loss, gradients), (expected, slopes) = losses_from_one_state(
        built, [lambda: compiled(outputs, labels), lambda: eager(outputs, labels)]
    )
    assert_close(loss, expected, of=REDUCTION)
    for gradient, slope in zip(gradients, slopes, strict=True):
        assert_close(gradient, slope, of=REDUCTION, scale=np.abs(slope).max())


def check_validation_loss(built):
    """Model Garden computes RetinaNet's losses in validation too.

    Labels do not tell objects apart there, and no state may move.
    """
    labels = {k: v for k, v in built.labels.items() if k != "attribute_targets"}
    states = built.model.loss_states.values()
    before = [state.read() for state in states]
    loss = total_loss(built.task, built.outputs(labels), {**labels, "groundtruths": {}})
    assert np.isfinite(loss)
    for state, value in zip(states, before, strict=True):
        np.testing.assert_array_equal(state.read(), value)


@pytest.mark.parametrize(
    "kind",
    [
        # Half a minute more; samplers and losses are compiled alone every day.
        pytest.param("maskrcnn", marks=pytest.mark.nightly),
        pytest.param("retinanet", marks=pytest.mark.slow),
    ],
)
def test_a_whole_step_is_compiled(kind, records):
    """Model Garden's own step, with the optimizer, of the three components at once."""
    params = tiny.experiment(
        f"libra_{kind}_resnetfpn_coco", runtime={"enable_xla": True}
    )
    override(
        params, {"task": {"dataset": records, "model": {"num_classes": 0}}}, "test"
    )
    resolve(params)
    task, model = tiny.build(params)
    batch = tiny.first_batch(task, params.task.train_data)
    optimizer = tf_keras.optimizers.SGD(0.01)
    before = [v.numpy() for v in model.trainable_variables]
    step = tf.function(
        lambda inputs: task.train_step(inputs, model, optimizer), jit_compile=True
    )
    losses = step(batch)
    assert np.isfinite(losses[task.loss])
    after = [v.numpy() for v in model.trainable_variables]
    assert all(np.all(np.isfinite(v)) for v in after)
    moved = [np.any(a != b) for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.85  # not those of levels without an object


@pytest.fixture
def mixed_precision():
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


SURVEY = [name for name in METHODS if name.startswith("survey/")]


@pytest.mark.slow
@pytest.mark.parametrize("name", SURVEY)
def test_losses_are_computed_in_float32(name, records, monkeypatch):
    """Outputs in bfloat16 give the loss of the same numbers in float32."""
    built = build(name, records, monkeypatch)
    outputs = built.outputs(built.labels)
    half = tf.nest.map_structure(
        lambda x: tf.cast(x, tf.bfloat16), predictions_of(outputs)
    )
    whole = tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), half)
    losses = losses_from_one_state(
        built,
        [
            lambda given=given: total_loss(built.task, outputs | given, built.labels)
            for given in (half, whole)
        ],
    )
    assert losses[0].dtype == tf.float32
    assert losses[0] > 0
    assert_close(losses[0], losses[1], of=ELEMENTWISE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["survey/fasterrcnn_isr", "survey/retinanet_residual_objectness"]
)
def test_a_step_under_mixed_precision(name, records, mixed_precision):
    """Gradients of all variables, which stay float32."""
    params = load(name, records)
    task, model = tiny.build(params)
    images, labels = tiny.first_batch(task, params.task.train_data)
    task.initialize(model)
    with tf.GradientTape() as tape:
        loss = total_loss(task, forward(model, images, labels), labels)
    variables = model.trainable_variables
    for gradient, variable in zip(
        tape.gradient(loss, variables), variables, strict=True
    ):
        assert variable.dtype == tf.float32
        assert gradient is None or np.all(np.isfinite(gradient)), variable.name
