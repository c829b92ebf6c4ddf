"""samplers.score_ranked: the published weights, exact counts, uniform filling."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.ops.boxes import decode_deltas
from libra_tf.samplers.score_ranked import isr_negative_sample

SEED = (3, 7)

# Three boxes over each other, two, and one alone with a score below the threshold.
BOXES = np.float32(
    [
        [0, 0, 10, 10],
        [0, 0, 9, 10],
        [0, 0, 8, 10],
        [50, 50, 60, 60],
        [50, 50, 59, 60],
        [90, 90, 99, 99],
    ]
)
PROBABILITIES = np.float32(
    [
        [0.6, 0.05, 0.35],
        [0.5, 0.1, 0.4],
        [0.3, 0.2, 0.5],
        [0.1, 0.55, 0.35],
        [0.1, 0.2, 0.7],
        [0.02, 0.03, 0.95],
    ]
)
SCORES = PROBABILITIES[:, :2].max(1)
LOSSES = -np.log(PROBABILITIES[:, 2])
ORDER = [0, 3, 1, 4, 2, 5]  # the Score-HLR of the five valid ones, then the other


def sample(n, scores=SCORES, negatives=None, values=LOSSES, images=1, **kwargs):
    boxes = decode_deltas(np.zeros([6, 4], np.float32), BOXES)
    negatives = np.ones(6, bool) if negatives is None else negatives
    rows = (scores, boxes, negatives, values)
    scores, boxes, negatives, values = (
        tf.tile(tf.convert_to_tensor(x)[None], [images] + [1] * x.ndim) for x in rows
    )
    mask, weights = isr_negative_sample(
        scores, boxes, negatives, n, values, **{"seed": SEED, **kwargs}
    )
    return mask.numpy(), weights.numpy()


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (3, [1.117606, 0.999617, 0.865694]),
        (4, [1.153365, 1.031601, 0.893393, 0.729452]),
        (5, [1.25714, 1.12442, 0.973776, 0.795085, 0.56221]),
        (6, [1.197397, 1.093069, 0.977671, 0.846688, 0.691318, 0.691318]),
    ],
)
def test_published_code(n, expected):
    (mask,), (weights,) = sample(n)
    assert set(np.flatnonzero(mask)) == set(ORDER[:n])
    assert_close(weights[ORDER[:n]], expected, of=ELEMENTWISE, scale=1.0)
    np.testing.assert_array_equal(weights[~mask], 0)
    total = (weights * LOSSES)[mask].sum()
    assert_close(total, LOSSES[mask].sum(), of=ELEMENTWISE)


@pytest.mark.parametrize(("k", "bias"), [(1.0, 0.0), (0.5, 0.3), (2.0, 0.1)])
def test_weights_of_other_settings(k, bias):
    (mask,), (weights,) = sample(4, k=k, bias=bias)
    expected = (bias + (1 - bias) * np.float64([1, 0.8, 0.6, 0.4])) ** k
    losses = LOSSES[ORDER[:4]]
    expected *= losses.sum() / (expected * losses).sum()
    assert_close(weights[ORDER[:4]], expected, of=ELEMENTWISE)
    assert mask.sum() == 4


def test_defaults_are_the_published_ones():
    settings = {"k": 0.5, "bias": 0.0, "score_threshold": 0.05, "iou_threshold": 0.5}
    np.testing.assert_array_equal(sample(4)[1], sample(4, **settings)[1])


def test_more_than_all_is_all():
    for many, all_of_them in zip(sample(100), sample(6), strict=True):
        np.testing.assert_array_equal(many, all_of_them)


def test_k_zero_gives_weights_one():
    mask, weights = sample(4, k=0.0)
    assert_close(weights, mask, of=ELEMENTWISE)


def test_a_score_at_the_threshold_is_not_valid():
    scores = np.full(6, 0.05, np.float32)
    scores[[2, 5]] = 0.06
    mask, _ = sample(3, scores, images=50)
    assert np.all(mask[:, [2, 5]])
    assert np.all(mask[:, [0, 1, 3, 4]].any(0))  # each was drawn once at least


def test_filling_is_uniform_and_weighs_as_the_last_ranked():
    """Two of four that are not valid, beside two that are."""
    scores = np.float32([0.6, 0.01, 0.04, 0.5, 0.03, 0.02])
    mask, weights = sample(4, scores, values=np.ones(6, np.float32), images=3000)
    assert np.all(mask[:, [0, 3]])
    assert np.all(mask.sum(1) == 4)
    counts = mask[:, [1, 2, 4, 5]].sum(0)
    assert np.all(np.abs(counts - 1500) < 5 * np.sqrt(3000 / 4))
    u = np.sqrt([1, 0.75, 0.75, 0.75])
    u *= 4 / u.sum()
    assert_close(weights[:, 0], u[0], of=ELEMENTWISE)
    for row, chosen in zip(weights, mask, strict=True):
        assert_close(row[1:][chosen[1:]], u[1:], of=ELEMENTWISE)


def test_without_valid_a_uniform_draw_of_weight_one():
    scores = np.full(6, 0.01, np.float32)
    mask, weights = sample(2, scores, images=3000)
    np.testing.assert_array_equal(weights, mask)
    assert np.all(mask.sum(1) == 2)
    assert np.all(np.abs(mask.sum(0) - 1000) < 5 * np.sqrt(3000 * 2 / 9))


@pytest.mark.parametrize("value", [0, np.inf, np.nan])
def test_losses_without_a_finite_total_give_weight_one(value):
    mask, weights = sample(4, values=np.full(6, value, np.float32))
    np.testing.assert_array_equal(weights, mask)


def test_only_negatives_are_ranked_and_drawn():
    """Without box 0, box 1 heads its group: 3, 1, 4, 2."""
    negatives = np.arange(6) > 0
    (mask,), (weights,) = sample(2, negatives=negatives)
    np.testing.assert_array_equal(np.flatnonzero(mask), [1, 3])
    assert weights[3] > weights[1]
    mask, weights = sample(9, negatives=negatives)
    np.testing.assert_array_equal(mask, [negatives])


def random_batch(images=5, size=150, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (images, size, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(30, 90, corner.shape)], -1)
    scores = rng.uniform(size=(images, size)) ** 4
    negatives = rng.uniform(size=(images, size)) < 0.7
    negatives[1] = False
    scores[2] = 0.01
    scores[3] += 0.1
    values = -np.log1p(-0.9 * np.minimum(scores, 1))
    return (
        tf.constant(scores, tf.float32),
        tf.constant(boxes, tf.float32),
        tf.constant(negatives),
        tf.constant(values, tf.float32),
    )


def draw(scores, boxes, negatives, values, n=40, seed=SEED):
    return isr_negative_sample(scores, boxes, negatives, n, values, seed=seed)


@pytest.mark.parametrize("n", [0, 1, 40, 1000, [3, 5, 70, 200, 0]])
def test_exactly_the_wanted_number_and_the_total_stays(n):
    scores, boxes, negatives, values = random_batch()
    mask, weights = draw(scores, boxes, negatives, values, n)
    assert mask.dtype == tf.bool
    assert weights.dtype == tf.float32
    expected = np.minimum(negatives.numpy().sum(1), n)
    np.testing.assert_array_equal(mask.numpy().sum(1), expected)
    assert not np.any(mask.numpy() & ~negatives.numpy())
    assert np.all(weights.numpy()[mask] > 0)
    assert np.all(weights.numpy()[~mask] == 0)
    assert_close(
        tf.reduce_sum(weights * values, 1),
        tf.reduce_sum(tf.where(mask, values, 0.0), 1),
        of=REDUCTION,
    )


def test_what_is_not_negative_is_not_looked_at():
    scores, boxes, negatives, values = random_batch()
    spoilt = [tf.where(negatives, x, np.nan) for x in (scores, values)]
    boxes_spoilt = tf.where(negatives[..., None], boxes, np.nan)
    for wanted, actual in zip(
        draw(scores, boxes, negatives, values),
        draw(spoilt[0], boxes_spoilt, negatives, spoilt[1]),
        strict=True,
    ):
        np.testing.assert_array_equal(wanted, actual)


def test_what_an_image_gets_does_not_depend_on_the_others():
    scores, boxes, negatives, values = random_batch()
    alone = negatives & [[i == 3] for i in range(5)]
    for wanted, actual in zip(
        draw(scores, boxes, negatives, values),
        draw(scores, boxes, alone, values),
        strict=True,
    ):
        np.testing.assert_array_equal(wanted[3], actual[3])


def test_the_seed_decides():
    batch = random_batch()
    first = draw(*batch)[0].numpy()
    np.testing.assert_array_equal(first, draw(*batch)[0])
    assert np.any(first != draw(*batch, seed=(3, 8))[0].numpy())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_draw_what_eager_draws(jit_compile):
    batch = random_batch()
    mask, weights = tf.function(draw, jit_compile=jit_compile)(*batch)
    expected_mask, expected_weights = draw(*batch)
    np.testing.assert_array_equal(mask, expected_mask)
    assert_close(weights, expected_weights, of=REDUCTION)


def test_under_a_gradient_in_xla():
    """The loop that groups the boxes must stay out of the backward pass."""

    @tf.function(jit_compile=True)
    def gradients(scores, boxes, negatives, values):
        with tf.GradientTape() as tape:
            tape.watch([scores, boxes, values])
            _, weights = draw(scores, boxes, negatives, values)
            loss = tf.reduce_sum(weights * values)
        return weights, tape.gradient(loss, [scores, boxes, values], None, "zero")

    weights, (to_scores, to_boxes, to_values) = gradients(*random_batch())
    assert not np.any(to_scores)
    assert not np.any(to_boxes)
    np.testing.assert_array_equal(to_values, weights)


def test_bfloat16_and_no_candidates():
    scores, boxes, negatives, values = random_batch()
    scores, values = tf.cast(scores, tf.bfloat16), tf.cast(values, tf.bfloat16)
    mask, weights = draw(scores, boxes, negatives, values)
    wide = draw(
        tf.cast(scores, "float32"), boxes, negatives, tf.cast(values, "float32")
    )
    np.testing.assert_array_equal(mask, wide[0])
    np.testing.assert_array_equal(weights, wide[1])
    mask, weights = draw(scores[:, :0], boxes[:, :0], negatives[:, :0], values[:, :0])
    assert mask.shape == weights.shape == [5, 0]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"k": -1}, "k must be >= 0, got -1"),
        ({"bias": 2}, r"bias must be in \[0, 1\], got 2"),
        ({"iou_threshold": 1.5}, r"iou_threshold must be in \(0, 1\], got 1.5"),
        ({"scores": SCORES[:5]}, r"scores and negatives .*\(1, 5\) and \(1, 6\)"),
        ({"values": LOSSES[:5]}, r"values and negatives .*\(1, 5\) and \(1, 6\)"),
        ({"n": tf.constant([1, 2])}, r"num_samples .*\(1,\)"),
    ],
)
def test_messages(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sample(**{"n": 3, **kwargs})
