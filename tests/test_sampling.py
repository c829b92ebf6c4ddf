"""ops.sampling: counts, distributions, and the same draw in every mode."""

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.ops import sampling

SEED = (3, 7)

# 60 of IoU 0, 40 in (0, 0.1), 20 in [0.1, 1/3), 8 in [1/3, 0.5); then three
# positives and one ground-truth box, which are no candidates.
NEGATIVE_IOU = np.concatenate(
    [
        np.zeros(60),
        np.linspace(0.005, 0.095, 40),
        np.linspace(0.105, 0.32, 20),
        np.linspace(0.34, 0.49, 8),
    ]
)
IOU = np.concatenate([NEGATIVE_IOU, [0.6, 0.7, 0.8, 1.0]]).astype(np.float32)
IS_NEGATIVE = np.arange(132) < 128


def batch(row, images):
    return tf.constant(np.tile(np.asarray(row)[None], [images, 1]))


def assert_uniform_within(mask, members, probability=None):
    """Chi-square of how often each member was drawn; the others are not looked at."""
    counts = np.asarray(mask)[:, members].sum(axis=0)
    draws, size = len(mask), len(members)
    p = counts.sum() / draws / size if probability is None else probability
    chi_square = ((counts - draws * p) ** 2).sum() / (draws * p * (1 - p))
    chi_square *= (size - 1) / size  # the members of an image are not independent
    degrees = size - 1
    assert chi_square < degrees + 5 * np.sqrt(2 * degrees)


def all_samplers(candidates, iou, gt, n, seed):
    common = {"seed": seed}
    max_iou = tf.reduce_max(iou, axis=1)
    return (
        sampling.uniform(candidates, n, **common),
        sampling.iou_balanced(iou, candidates, n, **common),
        sampling.iou_balanced_published(iou, candidates, n, max_iou=max_iou, **common),
        sampling.instance_balanced(gt, candidates, n, **common),
        sampling.hardest(iou, candidates, n),
    )


def random_pool(images=6, size=300, share=0.5):
    rng = np.random.default_rng(0)
    iou = rng.uniform(size=(images, size)).astype(np.float32) * 0.5
    gt = rng.integers(0, 9, size=(images, size)).astype(np.int32)
    candidates = rng.uniform(size=(images, size)) < share
    candidates[0] = False
    candidates[1, 7:] = False
    return tf.constant(candidates), tf.constant(iou), tf.constant(gt)


@pytest.mark.parametrize("n", [0, 1, 30, 100, 1000])
def test_exactly_the_wanted_number_and_only_candidates(n):
    pool, iou, gt = random_pool()
    expected = np.minimum(pool.numpy().sum(1), n)
    for mask in all_samplers(pool, iou, gt, n, SEED):
        assert mask.dtype == tf.bool
        np.testing.assert_array_equal(mask.numpy().sum(1), expected)
        assert not np.any(mask.numpy() & ~pool.numpy())


def test_a_number_for_each_image():
    pool, iou, gt = random_pool()
    n = [5, 3, 0, 17, 1000, 64]
    expected = np.minimum(pool.numpy().sum(1), n)
    for mask in all_samplers(pool, iou, gt, tf.constant(n), SEED):
        np.testing.assert_array_equal(mask.numpy().sum(1), expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_draw_what_eager_draws(jit_compile):
    pool, iou, gt = random_pool()
    args = (pool, iou, gt, tf.constant([9] * 6), tf.constant(SEED))
    compiled = tf.function(all_samplers, jit_compile=jit_compile)
    for eager, other in zip(all_samplers(*args), compiled(*args), strict=True):
        np.testing.assert_array_equal(eager, other)


def test_unknown_shapes_in_a_graph():
    pool, iou, gt = random_pool()
    specs = [tf.TensorSpec([None, None], x.dtype) for x in (pool, iou, gt)]
    traced = tf.function(lambda *x: all_samplers(*x, 9, SEED), input_signature=specs)
    expected = all_samplers(pool, iou, gt, 9, SEED)
    for eager, other in zip(expected, traced(pool, iou, gt), strict=True):
        np.testing.assert_array_equal(eager, other)


def test_the_seed_decides_and_images_differ():
    pool = batch([True] * 50, 4)
    first = sampling.uniform(pool, 10, seed=SEED).numpy()
    np.testing.assert_array_equal(first, sampling.uniform(pool, 10, seed=SEED))
    assert np.any(first != sampling.uniform(pool, 10, seed=(3, 8)).numpy())
    assert len({row.tobytes() for row in first}) == 4


def test_what_an_image_gets_does_not_depend_on_the_others():
    pool, iou, gt = random_pool()
    for mask, emptied in zip(
        all_samplers(pool, iou, gt, 20, SEED),
        all_samplers(pool & [[i == 3] for i in range(6)], iou, gt, 20, SEED),
        strict=True,
    ):
        np.testing.assert_array_equal(mask[3], emptied[3])


def test_uniform_is_uniform():
    mask = sampling.uniform(batch(np.arange(24) % 4 != 0, 2000), 5, seed=SEED)
    pool = np.flatnonzero(np.arange(24) % 4 != 0)
    assert_uniform_within(mask, pool, probability=5 / 18)


def test_pairs_are_uniform():
    mask = sampling.uniform(batch([True] * 5, 4000), 2, seed=SEED).numpy()
    pairs = np.bincount(mask @ (2 ** np.arange(5)), minlength=32)
    assert np.count_nonzero(pairs) == 10
    chi_square = ((pairs[pairs > 0] - 400) ** 2 / 400).sum()
    assert chi_square < 9 + 5 * np.sqrt(18)


def iou_draws(images=2000, n=30, **kwargs):
    return sampling.iou_balanced(
        batch(IOU, images), batch(IS_NEGATIVE, images), n, seed=SEED, **kwargs
    ).numpy()


def test_iou_balanced_of_the_paper():
    """Bins [0, 1/6), [1/6, 1/3), [1/3, 1/2) hold 106, 14 and 8 of the candidates."""
    first = np.flatnonzero(IOU < 1 / 6)
    second = np.flatnonzero((IOU >= 1 / 6) & (IOU < 1 / 3))
    third = np.flatnonzero((IOU >= 1 / 3) & (IOU < 0.5))
    assert (len(first), len(second), len(third)) == (106, 14, 8)
    mask = iou_draws()
    assert np.all(mask.sum(1) == 30)
    assert np.all(mask[:, third].sum(1) == 8)
    assert np.all(mask[:, first].sum(1) >= 10)
    assert np.all(mask[:, second].sum(1) >= 10)
    # The two that the last bin lacks come from the 96 + 4 that remain. Had the refill
    # the keys of the first draw, the second bin would get 0 of them, not 2 * 0.04.
    assert mask[:, second].sum(1).mean() == pytest.approx(10.08, abs=0.03)
    assert_uniform_within(mask, first)
    assert_uniform_within(mask, second)


def test_iou_balanced_division_remainder_is_drawn_from_all_bins():
    """30 of 4 bins: 7 each and 2 more; the bins hold 106, 14 and 8 at K = 3."""
    iou = np.repeat([0.01, 0.13, 0.26, 0.4], 20).astype(np.float32)
    mask = sampling.iou_balanced(
        batch(iou, 800), batch(iou < 1, 800), 30, num_bins=4, seed=SEED
    ).numpy()
    per_bin = mask.reshape(800, 4, 20).sum(2)
    assert np.all(per_bin >= 7)
    assert np.all(per_bin.sum(1) == 30)
    np.testing.assert_allclose(per_bin.mean(0), 7.5, atol=0.1)


def test_one_bin_is_uniform_sampling():
    assert_uniform_within(iou_draws(num_bins=1), np.arange(128), 30 / 128)


def test_all_bins_but_one_empty():
    iou = np.full(40, 0.2, np.float32)
    mask = sampling.iou_balanced(batch(iou, 500), batch(iou < 1, 500), 9, seed=SEED)
    assert_uniform_within(mask, np.arange(40), 9 / 40)


def test_an_edge_belongs_to_the_bin_above():
    iou = np.float32([0.0, 0.0, 0.0, 0.25, 0.0, 0.0])
    mask = sampling.iou_balanced(
        batch(iou, 300), batch(iou < 1, 300), 2, num_bins=2, seed=SEED
    ).numpy()
    assert mask[:, 3].all()


def test_iou_outside_the_bins_is_not_lost():
    iou = np.float32([0.7, 0.1, 0.1, 0.1, -0.1, -0.1])
    mask = sampling.iou_balanced(
        batch(iou, 300), batch(iou < 1, 300), 2, num_bins=2, seed=SEED
    ).numpy()
    assert mask[:, 0].all()  # alone in the last bin
    assert mask[:, 4:].any()


def published(iou, candidates, n, images=2000, **kwargs):
    iou = np.float32(iou)
    return sampling.iou_balanced_published(
        batch(iou, images),
        batch(candidates, images),
        n,
        max_iou=tf.fill([images], iou.max()),
        seed=SEED,
        **kwargs,
    ).numpy()


def test_iou_balanced_published_with_ground_truth():
    """Measured on the PyTorch sampler's first call: 11.0, 7.3, 3.7 and 8."""
    mask = published(IOU, IS_NEGATIVE, 30)
    assert np.all(mask[:, 120:128])
    parts = [mask[:, :60], mask[:, 60:100], mask[:, 100:120]]
    means = [part.sum(1).mean() for part in parts]
    np.testing.assert_allclose(means, [11, 22 / 3, 11 / 3], atol=0.2)
    assert_uniform_within(mask, np.arange(120), 22 / 120)


def test_iou_balanced_published_excludes_the_maximum_from_the_bins():
    mask = published([0, 0.1, 0.2, 0.3, 0.4, 0.45], [True] * 6, 3)
    assert mask[:, 2].all()
    assert not mask[:, 5].any()
    assert published([0, 0.1, 0.2, 0.3, 0.4, 0.45], [True] * 6, 5)[:, 5].any()


def test_iou_balanced_published_without_ground_truth_is_uniform():
    mask = published(np.zeros(40), [True] * 40, 10)
    assert_uniform_within(mask, np.arange(40), 10 / 40)


def test_iou_balanced_published_with_one_bin_is_uniform():
    mask = published(NEGATIVE_IOU, [True] * 128, 30, num_bins=1)
    assert_uniform_within(mask, np.arange(128), 30 / 128)


def instance_counts(sizes, n, images=1000):
    gt = np.repeat(np.arange(len(sizes)), sizes)
    mask = sampling.instance_balanced(
        batch(gt, images), batch(gt >= 0, images), n, seed=SEED
    ).numpy()
    ends = np.cumsum(sizes)
    parts = np.split(mask, ends[:-1], axis=1)
    return np.stack([part.sum(1) for part in parts], axis=1)


@pytest.mark.parametrize(
    ("sizes", "n", "expected"),
    [
        ((100, 20, 2), 12, (5, 5, 2)),
        ((100, 1), 12, (11, 1)),  # the reference returns 11.69 of 12 here
        ((5, 4), 12, (5, 4)),
        ((40,), 12, (12,)),
    ],
)
def test_instance_balanced_counts(sizes, n, expected):
    counts = instance_counts(sizes, n)
    np.testing.assert_array_equal(counts, np.tile(expected, [len(counts), 1]))


def test_instance_balanced_keeps_a_uniform_part_of_too_many():
    """4 of each are 8, of which 6 stay: 3 and 3 on average, whatever the sizes."""
    counts = instance_counts((100, 5), 6)
    assert np.all(counts.sum(1) == 6)
    assert np.all(counts <= 4)
    np.testing.assert_allclose(counts.mean(0), 3, atol=0.1)


def test_instance_balanced_equal_instances():
    counts = instance_counts((100, 100, 100), 12)
    assert np.all(counts.sum(1) == 12)
    assert np.all(counts <= 5)
    np.testing.assert_allclose(counts.mean(0), 4, atol=0.1)


def test_instance_balanced_rounds_half_to_even():
    """128 of 256 instances: round(0.5) + 1 is 1 each."""
    counts = instance_counts((3,) * 256, 128, images=4)
    assert np.all(counts.sum(1) == 128)
    assert counts.max() == 1


def test_instance_balanced_counts_only_owners_of_candidates():
    """An instance that owns no candidate does not lower the share of the others."""
    gt = np.repeat([0, 1, 2], [100, 30, 20])
    mask = sampling.instance_balanced(
        batch(gt, 500), batch(gt != 1, 500), 12, seed=SEED
    ).numpy()
    counts = [mask[:, gt == instance].sum(1).mean() for instance in (0, 1, 2)]
    # 7 of each are 14, of which 12 stay. Three shares of 5 would give 6.7 and 5.3.
    np.testing.assert_allclose(counts, [6, 0, 6], atol=0.1)


def test_hardest_takes_the_largest_and_of_equals_the_first():
    loss = tf.constant([[1.0, 9.0, 5.0, 5.0, 5.0, 7.0]])
    pool = tf.constant([[True, False, True, True, True, True]])
    mask = sampling.hardest(loss, pool, 3)
    np.testing.assert_array_equal(mask, [[False, False, True, True, False, True]])


def test_hardest_with_infinite_and_undefined_losses():
    loss = tf.constant([[np.nan, -np.inf, 1.0, np.inf]], tf.float32)
    pool = tf.constant([[True, True, True, False]])
    np.testing.assert_array_equal(
        sampling.hardest(loss, pool, 1), [[True, False, False, False]]
    )
    np.testing.assert_array_equal(sampling.hardest(loss, pool, 9), pool)


def test_bfloat16_iou():
    iou = tf.cast(batch(IOU, 2), tf.bfloat16)
    mask = sampling.iou_balanced(iou, batch(IS_NEGATIVE, 2), 30, seed=SEED).numpy()
    assert np.all(mask.sum(1) == 30)


def test_no_candidates_at_all():
    empty = tf.zeros([2, 0], tf.bool)
    values = tf.zeros([2, 0])
    assert sampling.uniform(empty, 3, seed=SEED).shape == [2, 0]
    assert sampling.iou_balanced(values, empty, 3, seed=SEED).shape == [2, 0]
    assert sampling.hardest(values, empty, 3).shape == [2, 0]


def test_messages():
    pool, iou = tf.ones([2, 3], tf.bool), tf.zeros([2, 4])
    with pytest.raises(ValueError, match=r"\(2, 4\) and \(2, 3\)"):
        sampling.iou_balanced(iou, pool, 1, seed=SEED)
    with pytest.raises(ValueError, match=r"loss.*\(2, 4\) and \(2, 3\)"):
        sampling.hardest(iou, pool, 1)
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        sampling.iou_balanced(iou[:, :3], pool, 1, num_bins=0, seed=SEED)
    with pytest.raises(ValueError, match="upper must be > 0, got 0"):
        sampling.iou_balanced(iou[:, :3], pool, 1, upper=0, seed=SEED)
    with pytest.raises(ValueError, match=r"max_iou must have shape \(2,\)"):
        sampling.iou_balanced_published(
            iou[:, :3], pool, 1, max_iou=tf.zeros([3]), seed=SEED
        )
    with pytest.raises(ValueError, match=r"num_samples .*\(2,\)"):
        sampling.uniform(pool, tf.constant([1, 2, 3]), seed=SEED)
    with pytest.raises(ValueError, match=r"\[B, N\], got \(3,\)"):
        sampling.uniform(pool[0], 1, seed=SEED)
