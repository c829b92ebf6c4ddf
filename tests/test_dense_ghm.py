"""criteria.dense_ghm: GHM's published numbers, levels, and the kept histogram."""

import dense_batches as batches
import numpy as np
import pytest
import tensorflow as tf
from dense_batches import IGNORED
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.criteria.dense_batch import Dense
from libra_tf.criteria.dense_ghm import BOX_DENSITY, CLASS_DENSITY, ghm_box, ghm_class
from libra_tf.experiments import class_loss_config
from libra_tf.layers.running_state import RunningState
from libra_tf.losses.ghm_c import ghm_c
from libra_tf.losses.ghm_r import ghm_r

# The published example: probabilities of one class, and whether it is the object.
PROBABILITIES = np.array([0.05, 0.08, 0.12, 0.55, 0.97, 0.02, 0.91, 0.40])
OBJECT = np.array([0, 0, 0, 0, 0, 1, 1, 0])


def example(ignore=(), errors=None):
    """One image of eight anchors; class 0 is never used."""
    logits = np.log(PROBABILITIES / (1 - PROBABILITIES))
    valid = ~np.isin(np.arange(8), ignore)
    boxes = np.zeros([1, 8, 4]) if errors is None else errors
    return Dense(
        logits=tf.constant(np.stack([np.full(8, 3.0), logits], -1)[None], tf.float32),
        classes=tf.constant(np.where(OBJECT, 1, -1)[None], tf.int32),
        positive=tf.constant(OBJECT[None] > 0),
        valid=tf.constant(valid[None]),
        boxes=tf.constant(boxes, tf.float32),
        box_targets=tf.zeros([1, 8, 4]),
        instances=None,
        level_sizes=[5, 3],
    )


def ghm(**settings):
    settings = {"num_bins": 10, "momentum": 0.0} | settings
    return class_loss_config.GradientHarmonizing(**settings)


def states(num_bins=10):
    return {
        name: RunningState([0.0] * num_bins, name=name)
        for name in (CLASS_DENSITY, BOX_DENSITY)
    }


@pytest.mark.parametrize(
    ("settings", "ignore", "expected"),
    [
        ({}, (), 1.0445573),
        ({"divisor": "all"}, (), 0.5222787),
        ({"num_bins": 30}, (), 0.8810996),
        ({}, (4,), 1.0851038),
    ],
)
def test_published_class_loss(settings, ignore, expected):
    loss = ghm_class(example(ignore), ghm(**settings), {}, True)
    assert_close(loss, expected, of=ELEMENTWISE)


def test_published_class_loss_with_momentum():
    config, kept = ghm(momentum=0.75), states()
    for expected in (4.1782293, 2.3875597, 1.8068018):
        loss = ghm_class(example(), config, kept, True)
        assert_close(loss, expected, of=ELEMENTWISE)
    first = states()
    ghm_class(example(), config, first, True)
    found = first[CLASS_DENSITY].read().numpy()
    # 0.4 lies on the edge of two bins; through a logit it falls to either side.
    found[3:5] = found[3:5].sum() / 2
    expected = [0.75, 0.25, 0, 0.125, 0.125, 0.25, 0, 0, 0, 0.5]
    assert_close(found, expected, of=ELEMENTWISE)
    assert not np.any(first[BOX_DENSITY].read())


def box_example():
    """The four errors of the one positive; what else is predicted does not count."""
    errors = np.full([1, 8, 4], 9.0)
    errors[0, 5] = [0, 0.1, 0.5, -1]
    dense = example(errors=errors)
    return dense._replace(positive=tf.constant(np.arange(8)[None] == 5))


def test_published_box_loss():
    loss = ghm_box(box_example(), ghm(mu=0.02), {}, True)
    assert_close(loss, 0.2570967, of=ELEMENTWISE)
    assert ghm_box(box_example(), ghm(mu=0.5), {}, True) != loss


def test_the_box_histogram_is_its_own():
    kept = states()
    ghm_box(box_example(), ghm(momentum=0.7), kept, True)
    assert np.sum(kept[BOX_DENSITY].read()) == pytest.approx(0.3 * 4)
    assert not np.any(kept[CLASS_DENSITY].read())


@pytest.mark.parametrize("loss", [ghm_class, ghm_box])
def test_validation_has_its_own_histogram_and_keeps_that_of_training(loss):
    config, kept = ghm(momentum=0.75), states()
    loss(box_example(), config, kept, True)
    before = [state.read().numpy() for state in kept.values()]
    value = loss(box_example(), config, kept, False)
    assert value == loss(box_example(), ghm(momentum=0.0), {}, True)
    for state, expected in zip(kept.values(), before, strict=True):
        np.testing.assert_array_equal(state.read(), expected)


@pytest.mark.parametrize("loss", [ghm_class, ghm_box])
def test_a_validation_loss_does_not_depend_on_the_size_of_the_batch(loss):
    """Trained on four images a batch, validated on one: a quarter with the averages."""
    one, config, kept = box_example(), ghm(momentum=0.75), states()
    four = one._replace(
        **{
            name: tf.repeat(value, 4, axis=0)
            for name, value in one._asdict().items()
            if isinstance(value, tf.Tensor)
        }
    )
    for _ in range(3):
        loss(four, config, kept, True)
    assert_close(
        loss(one, config, kept, False),
        loss(four, config, kept, False).numpy(),
        of=REDUCTION,
    )


@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_levels_one_after_the_other(momentum):
    """The sum of the levels' means; the histogram goes from level to level."""
    dense = batches.dense(batches.random_classes(), split=25)
    config, kept = ghm(momentum=momentum, per_level=True), states()
    found = [ghm_class(dense, config, kept, True) for _ in range(2)]
    density, expected = tf.zeros(10), []
    for _ in range(2):
        total = 0.0
        for part in (slice(0, 25), slice(25, None)):
            values, count, density = ghm_c(
                dense.foreground_targets[:, part],
                dense.foreground_logits[:, part],
                tf.repeat(dense.valid[:, part, None], 3, -1),
                density=density,
                num_bins=10,
                momentum=momentum,
            )
            total += tf.reduce_sum(values) / count
        expected.append(total)
    assert_close(found, expected, of=REDUCTION)
    joint = ghm_class(dense, ghm(momentum=momentum), states(), True)
    assert abs(float(joint - found[0])) > 1e-2
    if momentum:
        assert_close(kept[CLASS_DENSITY].read(), density, of=ELEMENTWISE)


def test_boxes_level_by_level():
    dense = batches.dense(batches.random_classes(), split=25)
    found = ghm_box(dense, ghm(per_level=True), {}, True)
    expected = 0.0
    for part in (slice(0, 25), slice(25, None)):
        valid = tf.repeat(dense.positive[:, part, None], 4, -1)
        inputs = dense.box_targets[:, part], dense.boxes[:, part], valid
        values, count, _ = ghm_r(*inputs, num_bins=10, momentum=0.0)
        expected += tf.reduce_sum(values) / count
    assert_close(found, expected, of=REDUCTION)


@pytest.mark.parametrize("row", [[-1, -1, -1], [IGNORED] * 3])
@pytest.mark.parametrize("loss", [ghm_class, ghm_box])
@pytest.mark.parametrize("per_level", [False, True])
def test_without_positives_or_anything_valid(loss, row, per_level):
    dense = batches.dense([row])
    logits = dense.logits
    with tf.GradientTape() as tape:
        tape.watch(logits)
        config, kept = ghm(per_level=per_level, momentum=0.75), states()
        value = loss(dense._replace(logits=logits), config, kept, True)
    gradient = tape.gradient(value, logits, unconnected_gradients="zero")
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    if loss is ghm_box or row[0] == IGNORED:
        assert value == 0
        assert not np.any(gradient)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_keep_the_histogram(jit_compile):
    config, kept, expected = ghm(momentum=0.75), states(), states()
    traced = tf.function(
        lambda: ghm_class(example(), config, kept, True), jit_compile=jit_compile
    )
    for _ in range(3):
        eager = ghm_class(example(), config, expected, True)
        assert_close(traced(), eager, of=ELEMENTWISE)
    for name, state in kept.items():
        assert_close(state.read(), expected[name].read(), of=ELEMENTWISE)


def test_the_class_that_is_never_used_is_not_counted():
    dense = example()
    other = dense._replace(logits=dense.logits + tf.constant([9.0, 0.0]))
    values = [float(ghm_class(x, ghm(), {}, True)) for x in (dense, other)]
    assert values[0] == values[1]
