"""Feature level: similarity and norms of neighbouring levels."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.diagnostics.levels import (
    is_pyramid,
    level_sums,
    summarize_levels,
    visible_size,
)

# One image of 4 x 4 pixels: level "1" has 2 x 2 positions, level "2" one.
FINE = [[[[1.0, 0.0], [0.0, 2.0]], [[3.0, 4.0], [0.0, 0.0]]]]
COARSE = [[[[2.0, 0.0]]]]
WHOLE = [[4.0, 4.0]]


def features(**levels):
    return {name[1:]: tf.constant(x, tf.float32) for name, x in levels.items()}


def sums_of(levels, image=WHOLE, input_size=(4, 4)):
    sums = level_sums(levels, tf.constant(image), input_size)
    return {name: value.numpy() for name, value in sums.items()}


def test_two_levels_by_hand():
    sums = sums_of(features(l1=FINE, l2=COARSE))
    # Cosines with [2, 0]: 1, 0, 3/5, and 0 for the vector 0.
    assert_close(sums["similarities"], [1.6], of=ELEMENTWISE)
    np.testing.assert_allclose(sums["norms"], [1 + 2 + 5 + 0, 2.0])
    np.testing.assert_allclose(sums["positions"], [4, 1])
    summary = summarize_levels(sums, ["2", "1"])
    assert summary["similarity"] == pytest.approx({"1-2": 0.4})
    assert summary["norms"] == pytest.approx({"1": 2.0, "2": 2.0})
    assert summary["norm_ratio"] == pytest.approx({"1-2": 1.0})
    assert summary["mean_similarity"] == pytest.approx(0.4)
    assert summary["norm_spread"] == pytest.approx(1.0)


def test_positions_in_the_padding_do_not_count():
    # Two rows of pixels: the lower positions of the fine level are padding, and the
    # centre of the coarse level's one position lies on the border.
    sums = sums_of(features(l1=FINE, l2=COARSE), image=[[2.0, 4.0]])
    np.testing.assert_allclose(sums["similarities"], [1.0])
    np.testing.assert_allclose(sums["norms"], [3.0, 0.0])
    np.testing.assert_allclose(sums["positions"], [2, 0])
    summary = summarize_levels(sums, ["1", "2"])
    assert summary["similarity"] == pytest.approx({"1-2": 0.5})
    assert summary["norm_spread"] is None


def test_each_image_has_its_own_padding():
    levels = features(l1=FINE * 2, l2=COARSE * 2)
    sums = sums_of(levels, image=[[4.0, 4.0], [4.0, 2.0]])
    assert_close(sums["similarities"], [1.6 + 1.0 + 0.6], of=ELEMENTWISE)
    np.testing.assert_allclose(sums["positions"], [6, 1])


def test_height_and_width_are_not_mixed_up():
    levels = features(l0=np.ones([1, 2, 4, 1]), l1=np.ones([1, 1, 2, 1]))
    sums = sums_of(levels, image=[[2.0, 3.0]], input_size=(2, 4))
    np.testing.assert_allclose(sums["positions"], [6, 1])


def test_equal_and_opposite_levels():
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=[1, 2, 2, 8]).astype(np.float32)
    fine = np.repeat(np.repeat(coarse, 2, axis=1), 2, axis=2)
    for factor in (3.0, -0.5):
        levels = features(l3=factor * fine, l4=coarse)
        summary = summarize_levels(sums_of(levels, [[32, 32]], (32, 32)), ["3", "4"])
        assert summary["mean_similarity"] == pytest.approx(math.copysign(1, factor))
        assert summary["norm_ratio"]["3-4"] == pytest.approx(1 / abs(factor))
        spread = max(abs(factor), 1 / abs(factor))
        assert summary["norm_spread"] == pytest.approx(spread)


def test_levels_are_paired_by_number_not_by_name():
    levels = features(
        l10=np.full([1, 1, 1, 1], 4.0),
        l9=np.full([1, 2, 2, 1], 2.0),
        l8=np.full([1, 4, 4, 1], -1.0),
    )
    sums = sums_of(levels, [[1024, 1024]], (1024, 1024))
    summary = summarize_levels(sums, list(levels))
    assert list(summary["similarity"]) == ["8-9", "9-10"]
    assert list(summary["similarity"].values()) == pytest.approx([-1, 1])
    assert list(summary["norm_ratio"].values()) == pytest.approx([2, 2])
    assert summary["norm_spread"] == pytest.approx(4)


def test_sizes_need_not_divide():
    # Position i of 3 looks at floor(2 i / 3) of 2: 0, 0, 1.
    fine = np.ones([1, 3, 3, 1])
    coarse = np.array([[1.0, -1.0], [1.0, -1.0]]).reshape([1, 2, 2, 1])
    sums = sums_of(features(l1=fine, l2=coarse), [[6, 6]], (6, 6))
    np.testing.assert_allclose(sums["similarities"], [6 - 3])


def test_batches_add_up():
    one = sums_of(features(l1=FINE, l2=COARSE))
    two = sums_of(features(l1=FINE * 2, l2=COARSE * 2), WHOLE * 2)
    for name in one:
        assert_close(two[name], 2 * one[name], of=ELEMENTWISE)


def test_the_visible_size_is_the_scaled_image_without_padding():
    info = tf.constant(
        [
            [[100.0, 200], [64, 64], [0.32, 0.32], [0, 0]],  # smaller than the input
            [[100.0, 100], [64, 64], [1.0, 1.0], [10, 36]],  # larger, and cropped
        ]
    )
    assert_close(visible_size(info), [[32, 64], [64, 64]], of=ELEMENTWISE)


def test_what_is_no_pyramid_is_refused():
    one = features(l1=FINE)
    other_channels = features(l1=FINE, l2=[[[[1.0]]]])
    for levels in (one, other_channels):
        assert not is_pyramid(levels)
        with pytest.raises(ValueError, match="two levels or more of the same channels"):
            level_sums(levels, tf.constant(WHOLE), (4, 4))
    assert is_pyramid(features(l1=FINE, l2=COARSE))


@pytest.mark.parametrize("jit", [False, True])
def test_graph_and_xla_give_the_same(jit):
    levels = features(l1=FINE, l2=COARSE)
    step = tf.function(lambda x, s: level_sums(x, s, (4, 4)), jit_compile=jit)
    for name, value in step(levels, tf.constant(WHOLE)).items():
        assert_close(value, sums_of(levels)[name], of=ELEMENTWISE)


def test_low_precision_is_computed_in_float32():
    levels = {
        k: tf.cast(v, tf.bfloat16) for k, v in features(l1=FINE, l2=COARSE).items()
    }
    sums = sums_of(levels)
    assert all(value.dtype == np.float32 for value in sums.values())
    assert_close(sums["similarities"], [1.6], of=REDUCTION)
