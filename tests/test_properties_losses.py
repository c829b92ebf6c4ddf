"""Every loss, of batches of any shape: padding unseen, results finite.

`property_losses` says how each is called. Numbers are random from fixed seeds; a few
examples run daily, many nightly.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from property_checks import JUNK, assert_finite, assert_same, few_or
from property_losses import LOSSES
from property_rows import PADDING, PREDICTIONS, Rows, batches, filled, row_specs
from tolerances import REDUCTION, assert_close

from libra_tf import losses
from libra_tf.losses.residual_objectness import (
    INITIAL_EXPECTED_POSITIVES,
    next_expected_positives,
)


@functools.cache
def graph(name):
    """Loss and gradients of a batch of any shape, traced once."""
    case = LOSSES[name]

    @tf.function(input_signature=[row_specs()], autograph=False)
    def run(batch):
        watched = {name: getattr(batch, name) for name in PREDICTIONS}
        with tf.GradientTape() as tape:
            tape.watch(watched)
            loss = case.of(batch)
        return loss, tape.gradient(loss, watched, unconnected_gradients="zero")

    return run


@pytest.mark.parametrize("name", LOSSES)
@few_or(60, few=14)
def test_a_loss_does_not_see_padding(name, count):
    run, case = graph(name), LOSSES[name]
    for number, batch in enumerate(batches(count)):
        loss, gradients = run(batch)
        padding = batch.kinds == PADDING
        for junk in (JUNK[0], JUNK[1 + number % (len(JUNK) - 1)]):
            spoiled, spoiled_gradients = run(filled(batch, junk))
            np.testing.assert_array_equal(spoiled, loss)
            for key, gradient in spoiled_gradients.items():
                gradient = gradient.numpy()
                expected = gradients[key].numpy()[~padding]
                np.testing.assert_array_equal(gradient[~padding], expected)
                if case.knows_padding:
                    assert not gradient[padding].any(), (key, junk)


@pytest.mark.parametrize("extreme", [False, True], ids=["usual", "extreme"])
@pytest.mark.parametrize("name", LOSSES)
@few_or(100, few=15)
def test_a_loss_is_finite(name, extreme, count):
    run, case = graph(name), LOSSES[name]
    for batch in batches(count, extreme=extreme):
        loss, gradients = run(batch)
        assert_finite(loss, gradients)
        assert loss.dtype == tf.float32
        if case.nonnegative:
            assert loss >= 0
        if batch.kinds.shape[0] == 0 or not batch.valid.numpy().any():
            assert_same(gradients, tf.nest.map_structure(tf.zeros_like, gradients))


@pytest.mark.parametrize("name", LOSSES)
@few_or(45, few=10)
def test_the_order_of_rows_is_nothing_to_a_loss(name, count):
    rng = np.random.default_rng(0)
    for batch in batches(count):
        order = rng.permutation(batch.kinds.shape[1])
        permuted = Rows(*[tf.gather(x, order, axis=1) for x in batch])
        loss, gradients = graph(name)(batch)
        moved, moved_gradients = graph(name)(permuted)
        assert_close(moved, loss, of=REDUCTION, scale=max(abs(loss), 1))
        for key, gradient in gradients.items():
            expected = tf.gather(gradient, order, axis=1).numpy()
            scale = np.abs(expected).max(initial=0)
            assert_close(moved_gradients[key], expected, of=REDUCTION, scale=scale)


@pytest.mark.parametrize("name", [k for k, x in LOSSES.items() if x.doubling])
@few_or(60, few=10)
def test_a_batch_given_twice(name, count):
    """A sum doubles, a mean stays."""
    factor = LOSSES[name].doubling
    for batch in batches(count):
        if not batch.valid.numpy().any():
            continue
        loss, _ = graph(name)(batch)
        twice, _ = graph(name)(Rows(*[tf.concat([x, x], 0) for x in batch]))
        assert_close(twice, factor * loss, of=REDUCTION, scale=max(abs(loss), 1))


def moving_states(count, junk):
    """What GHM and residual objectness keep, after each batch."""
    class_density = box_density = None
    expected = INITIAL_EXPECTED_POSITIVES
    usual, extreme = batches(count), batches(count, extreme=True)
    for batch in itertools.chain.from_iterable(zip(usual, extreme, strict=True)):
        batch = filled(batch, junk)
        valid, positive = (x[..., tf.newaxis] for x in (batch.valid, batch.positive))
        class_density = losses.ghm_c(
            batch.targets, batch.logits, valid, density=class_density
        ).density
        box_density = losses.ghm_r(
            batch.box_targets, batch.boxes, positive, density=box_density
        ).density
        positives = tf.math.count_nonzero(batch.positive)
        expected = next_expected_positives(expected, positives, updates=3)[-1]
        yield class_density, box_density, expected


@few_or(30, few=8)
def test_a_moving_state(count):
    """Finite after anything, and blind for padding."""
    clean = list(moving_states(count, 0.0))
    assert_finite(clean)
    assert all(np.all(np.asarray(x) >= 0) for x in tf.nest.flatten(clean))
    for junk in JUNK[:2] if count < 20 else JUNK:
        assert_same(list(moving_states(count, junk)), clean)
