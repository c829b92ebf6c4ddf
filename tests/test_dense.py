"""criteria.dense: each choice of a config is the loss that it names."""

import dense_batches as batches
import numpy as np
import pytest
import tensorflow as tf
from dense_batches import IGNORED, NUM_CLASSES
from official.vision.tasks.retinanet import RetinaNetTask
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.criteria.dense import batch_losses, dense_losses, needed_states
from libra_tf.criteria.dense_ghm import BOX_DENSITY, CLASS_DENSITY
from libra_tf.criteria.dense_objectness import EXPECTED_POSITIVES
from libra_tf.criteria.dense_ranking import ranking_loss
from libra_tf.criteria.head_losses import Losses
from libra_tf.experiments.saved import get_experiment, override
from libra_tf.layers.running_state import RunningState
from libra_tf.losses.focal import focal
from libra_tf.losses.ghm_c import ghm_c
from libra_tf.losses.ghm_r import ghm_r

CLASSES = batches.random_classes()
POSITIVES = np.sum(CLASSES > 0)
# Every image counts one at least, as the last one here, which has none.
AT_LEAST_ONE = POSITIVES + 1
INSTANCES = np.arange(CLASSES.size).reshape(CLASSES.shape) % 3
EVERY_CLASS_LOSS = (
    "focal",
    "cross_entropy",
    "ghm_c",
    "average_precision",
    "distributional_ranking",
    "residual_objectness",
)


def states_of(config):
    return {k: RunningState(v, name=k) for k, v in needed_states(config).items()}


def losses(dense=None, *, states=None, training=True, coder=None, **settings):
    config = batches.settings(**settings)
    dense = batches.dense(CLASSES, instances=INSTANCES) if dense is None else dense
    states = states_of(config) if states is None else states
    dense = dense._replace(delta_weights=coder)
    return batch_losses(dense, config, states=states, training=training)


def entropies(dense):
    values = tf.nn.sigmoid_cross_entropy_with_logits(
        dense.foreground_targets, dense.foreground_logits
    )
    return tf.reduce_sum(values, -1) * tf.cast(dense.valid, tf.float32)


@pytest.mark.parametrize(
    ("normalizer", "count"), [("tfm", POSITIVES + 1), ("reference", AT_LEAST_ONE)]
)
def test_cross_entropy_leaves_class_zero_out(normalizer, count):
    dense = batches.dense(CLASSES)
    found = losses(dense, normalizer=normalizer).classification
    assert_close(found, tf.reduce_sum(entropies(dense)) / count, of=REDUCTION)
    other = dense._replace(logits=dense.logits + tf.constant([5.0, 0, 0, 0]))
    np.testing.assert_array_equal(
        losses(other, normalizer=normalizer).classification, found
    )


def test_focal_takes_its_settings():
    dense = batches.dense(CLASSES)
    found = losses(
        classification={"type": "focal"}, focal_loss_alpha=0.4, focal_loss_gamma=1.2
    )
    values = focal(
        tf.one_hot(dense.classes, NUM_CLASSES), dense.logits, alpha=0.4, gamma=1.2
    )
    valid = tf.cast(dense.valid, tf.float32)[..., tf.newaxis]
    expected = tf.reduce_sum(values * valid) / AT_LEAST_ONE
    assert_close(found.classification, expected, of=REDUCTION)


def test_with_model_gardens_settings_it_is_model_gardens_loss():
    """Through our losses, which the task does not take for these settings."""
    params = get_experiment("libra_retinanet_resnetfpn_coco")
    changes = {
        "model": {"num_classes": NUM_CLASSES},
        "losses": {"normalizer": "tfm", "box": {"type": "huber"}},
    }
    override(params, {"task": changes}, "test")
    outputs, labels = batches.batch(CLASSES)
    watched = tf.nest.flatten(outputs)

    def run(function):
        with tf.GradientTape() as tape:
            tape.watch(watched)
            loss = function()
        return loss, tape.gradient(loss, watched)

    stock = RetinaNetTask(params.task)
    theirs = stock.build_losses(outputs, labels)
    _, their_gradients = run(lambda: stock.build_losses(outputs, labels)[3])

    def computed():
        return dense_losses(
            outputs,
            labels,
            params.task.losses,
            num_classes=NUM_CLASSES,
            states={},
            training=True,
        )

    ours = computed()
    weight = params.task.losses.box_weight
    _, our_gradients = run(lambda: computed().total(weight))
    assert_close([*ours, ours.total(weight)], theirs[1:], of=REDUCTION)
    for a, b in zip(our_gradients, their_gradients, strict=True):
        assert_close(a, b, of=REDUCTION, scale=np.abs(b).max())


def test_ghm_divides_by_itself():
    dense = batches.dense(CLASSES)
    valid = tf.repeat(dense.valid[..., None], 3, -1)
    values, count, density = ghm_c(
        dense.foreground_targets, dense.foreground_logits, valid, num_bins=30,
        momentum=0.75,
    )  # fmt: skip
    config = batches.settings(classification={"type": "ghm_c"})
    states = states_of(config)
    found = batch_losses(dense, config, states=states, training=True)
    assert_close(found.classification, tf.reduce_sum(values) / count, of=REDUCTION)
    assert_close(states[CLASS_DENSITY].read(), density, of=ELEMENTWISE)


def test_ghm_of_boxes_has_the_weight_of_boxes():
    dense = batches.dense(CLASSES)
    found = losses(dense, box={"type": "ghm_r", "weight": 10.0})
    valid = tf.repeat(dense.positive[..., None], 4, -1)
    values, count, _ = ghm_r(
        dense.box_targets, dense.boxes, valid, num_bins=10, momentum=0.7, mu=0.02
    )
    assert_close(found.box, tf.reduce_sum(values) / count, of=REDUCTION)
    config = batches.settings(box={"type": "ghm_r", "weight": 10.0})
    assert config.box_weight == 10


@pytest.mark.parametrize("kind", ["average_precision", "distributional_ranking"])
def test_ranking_losses_are_not_divided(kind):
    dense = batches.dense(CLASSES)
    expected = ranking_loss(
        dense, batches.settings(classification={"type": kind}).classification
    )
    for normalizer in ("tfm", "reference"):
        found = losses(dense, classification={"type": kind}, normalizer=normalizer)
        np.testing.assert_array_equal(found.classification, expected)


def objectness_sums(dense):
    """Objectness of valid anchors, and entropy of the positives."""
    objectness = tf.nn.sigmoid_cross_entropy_with_logits(
        tf.cast(dense.positive, tf.float32), dense.logits[..., 0]
    )
    objectness = tf.reduce_sum(objectness * tf.cast(dense.valid, tf.float32))
    classes = tf.reduce_sum(entropies(dense) * tf.cast(dense.positive, tf.float32))
    return objectness, classes


def test_residual_objectness_as_released():
    """With 50 positives the divisors are 1900, 905 and 86.45, then 1656.1 ..."""
    classes = np.full([2, 60], -1)
    classes[0, :50] = 1 + np.arange(50) % 3
    classes[1, :3] = IGNORED
    dense = batches.dense(classes)
    objectness, entropy = objectness_sums(dense)
    errors = tf.reduce_sum(tf.abs(dense.boxes - dense.box_targets))
    config = batches.settings(
        classification={"type": "residual_objectness"}, box={"type": "l1"}
    )
    states = states_of(config)
    for divisors in ((1900, 905, 86.45), (1656.1, 795.245, 76.572)):
        found = batch_losses(dense, config, states=states, training=True)
        expected = objectness / divisors[0] + entropy / divisors[1]
        assert_close(found.classification, expected, of=REDUCTION)
        assert_close(found.box, errors / divisors[2], of=REDUCTION)
    expected = 50 + 0.9**6 * 50
    assert_close(states[EXPECTED_POSITIVES].read(), [expected], of=ELEMENTWISE)


@pytest.mark.parametrize(
    ("settings", "divisors"),
    [
        ({"updates": 1}, [0.9 * 100 + 0.1 * POSITIVES] * 3),
        ({"moving": False}, [POSITIVES] * 3),
        ({"moving": False, "objectness": 2.0, "classification": 3.0},
         [POSITIVES / 10, POSITIVES * 0.3, POSITIVES]),
    ],
)  # fmt: skip
def test_residual_objectness_without_the_quirk(settings, divisors):
    dense = batches.dense(CLASSES)
    objectness, entropy = objectness_sums(dense)
    classification = {"type": "residual_objectness", "objectness": settings}
    found = losses(dense, classification=classification, box={"type": "l1"})
    expected = objectness / (20 * divisors[0]) + entropy / (10 * divisors[1])
    assert_close(found.classification, expected, of=REDUCTION)
    errors = tf.reduce_sum(tf.abs(dense.boxes - dense.box_targets))
    assert_close(found.box, errors / divisors[2], of=REDUCTION)


def test_objectness_of_a_background_anchor_has_no_class_gradient():
    dense = batches.dense(CLASSES)
    logits = dense.logits
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses(
            dense._replace(logits=logits),
            classification={"type": "residual_objectness"},
        ).classification
    gradient = tape.gradient(loss, logits).numpy()
    assert not np.any(gradient[CLASSES <= 0][:, 1:])
    assert np.all(gradient[CLASSES > 0] != 0)
    assert np.all(gradient[CLASSES == -1][:, 0] > 0)
    assert not np.any(gradient[CLASSES == IGNORED])


@pytest.mark.parametrize("kind", EVERY_CLASS_LOSS)
def test_guided_scales_any_class_loss_to_the_box_loss(kind):
    classification = {"type": kind, "weight": 3.0}
    box = {"type": "smooth_l1", "weight": 0.25}
    plain = losses(classification=classification, box=box)
    guided = {"enabled": True, "factor": 2.0}
    found = losses(classification=classification, box=box, guided=guided)
    np.testing.assert_array_equal(found.box, plain.box)
    expected = 3 * 2 * 0.25 * found.box
    assert_close(found.classification, expected, of=REDUCTION)


def test_the_total_weighs_the_box_loss():
    assert Losses(2.0, 3.0).total(0.5) == 3.5
    for kind, weight in (("huber", 50.0), ("smooth_l1", 0.25)):
        box = {"type": kind, "weight": 0.25}
        config = batches.settings(box=box, box_loss_weight=50.0)
        assert config.box_weight == weight


@pytest.mark.parametrize("kind", EVERY_CLASS_LOSS)
def test_the_weight_of_the_class_loss(kind):
    plain = losses(classification={"type": kind})
    thrice = losses(classification={"type": kind, "weight": 3.0})
    assert_close(thrice.classification, 3 * plain.classification, of=ELEMENTWISE)
    np.testing.assert_array_equal(thrice.box, plain.box)


@pytest.mark.parametrize("kind", ["focal", "cross_entropy"])
def test_isr_keeps_the_loss_and_moves_the_gradient(kind):
    dense = batches.dense(CLASSES, instances=INSTANCES)
    logits, found = dense.logits, {}
    for enabled in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses(
                dense._replace(logits=logits),
                classification={"type": kind},
                isr={"enabled": enabled},
            ).classification
        found[enabled] = loss, tape.gradient(loss, logits).numpy()
    assert_close(found[True][0], found[False][0], of=REDUCTION)
    before, after = found[False][1], found[True][1]
    np.testing.assert_array_equal(after[CLASSES <= 0], before[CLASSES <= 0])
    before, after = before[CLASSES > 0], after[CLASSES > 0]
    ratios = after[:, 1:] / before[:, 1:]
    assert ratios.min() < 0.8 < 1.2 < ratios.max()
    # One weight for all classes of an anchor.
    np.testing.assert_allclose(after, before * ratios[:, :1], rtol=1e-4, atol=1e-9)


def test_isr_divides_by_the_weights_of_the_box_coder():
    dense = batches.dense(CLASSES, instances=INSTANCES)
    coder = np.float32([10, 10, 5, 5])
    wide = dense._replace(
        boxes=dense.boxes * coder, box_targets=dense.box_targets * coder
    )
    logits, gradients = dense.logits, []
    for one, weights in ((dense, None), (wide, coder), (wide, None)):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses(
                one._replace(logits=logits), coder=weights, isr={"enabled": True}
            )
        gradients.append(tape.gradient(loss.classification, logits).numpy())
    assert_close(gradients[1], gradients[0], of=ELEMENTWISE, scale=1.0)
    assert np.max(np.abs(gradients[2] - gradients[0])) > 1e-3


def test_validation_has_no_objects_and_the_same_loss():
    training = losses(isr={"enabled": True})
    found = losses(batches.dense(CLASSES), isr={"enabled": True}, training=False)
    assert_close(found, training, of=REDUCTION)


def test_carl_is_added_to_the_box_loss():
    plain = losses(box={"weight": 0.5})
    found = losses(box={"weight": 0.5}, carl={"weight": 2.0, "k": 0.0})
    # With k 0 it is the box loss itself.
    assert_close(found.box, 3 * plain.box, of=REDUCTION)
    other = losses(carl={"weight": 1.0}).box
    assert float(other) != pytest.approx(float(2 * losses().box))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"classification": {"type": "ghm_c"}}, {CLASS_DENSITY: 30}),
        ({"classification": {"type": "ghm_c", "ghm": {"momentum": 0.0}}}, {}),
        ({"box": {"type": "ghm_r"}}, {BOX_DENSITY: 10}),
        ({"box": {"type": "ghm_r", "ghm": {"momentum": 0.0}}}, {}),
        ({"classification": {"type": "residual_objectness"}}, {EXPECTED_POSITIVES: 1}),
        ({"classification": {"type": "residual_objectness",
                             "objectness": {"moving": False}}}, {}),
    ],
)  # fmt: skip
def test_only_what_moves_is_kept(settings, expected):
    states = needed_states(batches.settings(**settings))
    assert {name: len(values) for name, values in states.items()} == expected
    if EXPECTED_POSITIVES in states:
        assert states[EXPECTED_POSITIVES] == [100.0]


@pytest.mark.parametrize("kind", ["ghm_c", "residual_objectness"])
def test_states_move_in_training_only(kind):
    config = batches.settings(classification={"type": kind}, box={"type": "ghm_r"})
    states = states_of(config)
    dense = batches.dense(CLASSES)
    before = [state.read().numpy() for state in states.values()]
    batch_losses(dense, config, states=states, training=False)
    for state, kept in zip(states.values(), before, strict=True):
        np.testing.assert_array_equal(state.read(), kept)
    batch_losses(dense, config, states=states, training=True)
    for state, kept in zip(states.values(), before, strict=True):
        assert np.any(state.read() != kept)


@pytest.mark.parametrize("kind", EVERY_CLASS_LOSS)
@pytest.mark.parametrize("row", [[-1, -1, -1], [IGNORED] * 3, [2, -1, -1], [1, 2, 3]])
def test_gradients_are_finite(kind, row):
    outputs, labels = batches.batch([row], scale=20.0)
    watched = tf.nest.flatten(outputs)
    config = batches.settings(classification={"type": kind}, guided={"enabled": True})
    with tf.GradientTape() as tape:
        tape.watch(watched)
        dense = batches.dense_batch(outputs, labels, NUM_CLASSES)
        loss = batch_losses(dense, config, states=states_of(config), training=True)
        total = loss.total(config.box_weight)
    assert np.all(np.isfinite(loss))
    for gradient in tape.gradient(total, watched):
        assert np.all(np.isfinite(gradient))
    if max(row) < 0:
        assert total == 0  # guided: nothing without a box loss
