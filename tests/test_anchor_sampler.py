"""samplers.anchor_sampler: the limit of background anchors, over all levels."""

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.samplers import limit_negatives

SEED = (1, 2)


def targets(num_positives, num_negatives=256, dtype=tf.int32):
    """Labels of one image, shuffled over two levels: 8 x 8 x 6 and 4 x 4 x 6."""
    flat = np.full(480, -1)
    flat[:num_positives] = 1
    flat[num_positives : num_positives + num_negatives] = 0
    np.random.default_rng(num_positives).shuffle(flat)
    return {
        "3": tf.constant(flat[:384].reshape(1, 8, 8, 6), dtype),
        "4": tf.constant(flat[384:].reshape(1, 4, 4, 6), dtype),
    }


def stack(*images):
    return {level: tf.concat([i[level] for i in images], 0) for level in images[0]}


def count(labels, value):
    return sum(
        np.sum(x == value, axis=(1, 2, 3)) for x in map(np.asarray, labels.values())
    )


@pytest.mark.parametrize("most", [None, 256])
@pytest.mark.parametrize(
    ("num_positives", "expected"),
    [(0, 5), (1, 5), (10, 50), (42, 210), (43, 213), (128, 128)],
)
def test_table_of_the_published_settings(num_positives, expected, most):
    labels = targets(num_positives, 256 - num_positives)
    limited = limit_negatives(labels, 5, most=most, seed=SEED)
    assert count(limited, 0) == expected
    assert count(limited, 1) == num_positives
    for level in labels:
        before, after = labels[level].numpy(), limited[level].numpy()
        assert after.shape == before.shape
        assert after.dtype == before.dtype
        np.testing.assert_array_equal(after == 1, before == 1)
        assert not np.any((after == 0) & (before != 0))


def test_images_are_limited_each_by_its_own_count():
    limited = limit_negatives(stack(targets(0), targets(3), targets(99)), seed=SEED)
    np.testing.assert_array_equal(count(limited, 0), [5, 15, 256])


def test_fractional_ratio_and_no_negatives():
    assert count(limit_negatives(targets(5), 0.5, seed=SEED), 0) == 2
    assert count(limit_negatives(targets(5, 0), 5, seed=SEED), 0) == 0


def test_kept_anchors_are_uniform_over_levels():
    labels = targets(2, 300)
    many = stack(*[labels] * 800)
    kept = np.concatenate(
        [x.numpy().reshape(800, -1) for x in limit_negatives(many, seed=SEED).values()],
        axis=1,
    )
    pool = np.concatenate([x.numpy().ravel() for x in labels.values()]) == 0
    counts = (kept == 0).sum(0)[pool]
    p = 10 / 300
    chi_square = ((counts - 800 * p) ** 2).sum() / (800 * p * (1 - p)) * 299 / 300
    assert chi_square < 299 + 5 * np.sqrt(2 * 299)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_draw_what_eager_draws(jit_compile):
    labels = stack(targets(0), targets(3), targets(20))
    traced = tf.function(limit_negatives, jit_compile=jit_compile)
    actual = traced(labels, 5, seed=tf.constant(SEED))
    for level, expected in limit_negatives(labels, 5, seed=SEED).items():
        np.testing.assert_array_equal(actual[level], expected)


def test_in_a_data_pipeline_with_unknown_batch():
    labels = stack(*[targets(i) for i in range(5)])
    dataset = tf.data.Dataset.from_tensor_slices(labels).batch(2).enumerate()
    dataset = dataset.map(lambda i, x: limit_negatives(x, seed=tf.stack([i, i])))
    assert dataset.element_spec["3"].shape.as_list() == [None, 8, 8, 6]
    counts = np.concatenate([count(batch, 0) for batch in dataset])
    np.testing.assert_array_equal(counts, [5, 5, 10, 15, 20])


def test_float_labels():
    limited = limit_negatives(targets(1, dtype=tf.float32), seed=SEED)
    assert limited["3"].dtype == tf.float32
    assert count(limited, 0) == 5


def test_messages():
    with pytest.raises(ValueError, match="ratio must be > 0, got 0"):
        limit_negatives(targets(1), 0, seed=SEED)
    unbatched = {level: x[0] for level, x in targets(1).items()}
    with pytest.raises(ValueError, match=r"level 3 .* got \(8, 8, 6\)"):
        limit_negatives(unbatched, seed=SEED)


def test_partial_sort_draws_the_same():
    labels = stack(targets(3), targets(0), targets(40, 100))
    whole = limit_negatives(labels, 5, seed=SEED)
    partial = limit_negatives(labels, 5, most=256, seed=SEED)
    for level in labels:
        np.testing.assert_array_equal(whole[level], partial[level])
