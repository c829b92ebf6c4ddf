"""samplers.selection: which candidates each rule takes, and their weights."""

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.samplers import MinedRoIs, SamplingRule, select_rois
from libra_tf.samplers.mining import best_foreground, class_losses
from libra_tf.samplers.score_ranked import isr_negative_sample

SEED = (1, 2)
WEIGHS = {"negatives": "score_ranked"}
RULES = {
    "hardest": {"positives": "hardest", "negatives": "hardest"},
    "hardest positives": {"positives": "hardest"},
    "without quota": {
        "positives": "hardest",
        "negatives": "hardest",
        "without_quota": True,
    },
    "score_ranked": WEIGHS,
    "all": {"positives": "all", "negatives": "all"},
}


def scene(images=4, proposals=120, seed=0):
    """Candidates with padding, ground truth, classes, and what a head might say.

    Image 1 has no object, image 2 a single candidate, image 3 none at all.
    """
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (images, 3, 2))
    gt = np.concatenate([corner, corner + rng.uniform(40, 90, corner.shape)], -1)
    boxes = np.repeat(gt, proposals // 3, axis=1)
    boxes = boxes + rng.normal(0, 15, boxes.shape)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + 5)
    boxes = np.maximum(boxes, 0)
    gt[1], boxes[2, 1:], boxes[3] = -1, -1, 0
    classes = np.where(gt.max(-1) < 0, -1, [[2, 1, 3]])
    mined = MinedRoIs(
        tf.constant(rng.normal(0, 2, (images, proposals, 4)), tf.float32),
        tf.constant(boxes + rng.normal(0, 3, boxes.shape), tf.float32),
    )
    boxes, gt = (tf.constant(x, tf.float32) for x in (boxes, gt))
    return boxes, gt, tf.constant(classes, tf.int32), mined


def select(boxes, gt, classes, mined, **rule):
    rule = SamplingRule(**{"num_sampled_rois": 24} | rule)
    return select_rois(boxes, gt, rule=rule, gt_classes=classes, mined=mined, seed=SEED)


def losses_of(selection, classes, mined):
    indices, positive = selection.matched_gt_indices, selection.positive
    return class_losses(mined.class_logits, classes, indices, positive).numpy()


def numpy(*tensors):
    return [tensor.numpy() for tensor in tensors]


def hand(losses, num_positives=3, **rule):
    """Chosen rows of one image: positives first, then background."""
    losses = np.asarray(losses, np.float64)
    gt = tf.constant([[[0.0, 0, 10, 10]]])
    count = len(losses)
    boxes = np.tile([50.0, 50, 60, 60], [1, count, 1])
    boxes[0, :num_positives] = [0, 0, 10, 9]
    # Two classes: the loss of each row is -ln of its target's probability.
    target = np.exp(-losses)
    background = np.where(np.arange(count) < num_positives, 1 - target, target)
    probabilities = np.stack([background, 1 - background], -1)[np.newaxis]
    mined = MinedRoIs(tf.constant(np.log(probabilities), tf.float32), boxes)
    selection = select(
        tf.constant(boxes, tf.float32), gt, tf.constant([[1]]), mined, **rule
    )
    chosen = selection.chosen_positive | selection.chosen_negative
    return set(np.flatnonzero(chosen[0]))


@pytest.mark.parametrize(
    ("foreground", "background", "expected"),
    [
        (0.5, 0.5, (True, False)),
        (0.75, 0.5, (False, False)),
        (0.75, 0.75, (False, True)),
        (0.25, 0.25, (True, False)),
    ],
)
def test_an_iou_at_a_threshold_is_not_below_it(foreground, background, expected):
    gt = tf.constant([[[0.0, 0, 16, 16]]])
    half = tf.constant([[[0.0, 0, 8, 16]]])  # IoU 0.5, exactly
    rule = {
        "foreground_iou_threshold": foreground,
        "background_iou_high_threshold": background,
    }
    selection = select(half, gt, tf.constant([[1]]), None, **rule)
    found = bool(selection.positive[0, 0]), bool(selection.negative[0, 0])
    assert found == expected


def test_hardest_by_hand():
    # Losses of the published example; its three highest are 1, 3 and 5.
    losses = [0.1, 2.3, 0.7, 1.5, 0.05, 0.9]
    both = RULES["without quota"] | {"num_sampled_rois": 3}
    assert hand(losses, **both) == {1, 3, 5}
    shares = RULES["hardest"] | {"num_sampled_rois": 4, "foreground_fraction": 0.25}
    # One positive of 0, 1, 2; three of the others, all there are.
    assert hand(losses, **shares) == {1, 3, 4, 5}
    assert hand(losses, **shares | {"foreground_fraction": 0.5}) == {1, 2, 3, 5}
    # Positives never fill what negatives lack.
    assert hand(losses, **shares | {"num_sampled_rois": 6}) == {1, 3, 4, 5}
    assert hand(losses, num_positives=0, **both) == {1, 3, 5}
    assert hand(losses, num_positives=6, **both) == {1, 3, 5}


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_hardest_keeps_the_quotas(fraction):
    boxes, gt, classes, mined = scene()
    rule = RULES["hardest"] | {"foreground_fraction": fraction}
    selection = select(boxes, gt, classes, mined, **rule)
    losses = losses_of(selection, classes, mined)
    positive, negative = numpy(selection.positive, selection.negative)
    chosen, drawn = numpy(selection.chosen_positive, selection.chosen_negative)
    expected = np.minimum(positive.sum(1), int(24 * fraction))
    np.testing.assert_array_equal(chosen.sum(1), expected)
    expected = np.minimum(negative.sum(1), 24 - chosen.sum(1))
    np.testing.assert_array_equal(drawn.sum(1), expected)
    for pool, taken in ((positive, chosen), (negative, drawn)):
        assert not np.any(taken & ~pool)
        for image in range(4):
            left = losses[image][pool[image] & ~taken[image]]
            if len(left) and taken[image].any():
                assert losses[image][taken[image]].min() >= left.max()


def test_hardest_without_quota_mixes_both_kinds():
    boxes, gt, classes, mined = scene()
    selection = select(boxes, gt, classes, mined, **RULES["without quota"])
    losses = losses_of(selection, classes, mined)
    pool, taken = numpy(
        selection.positive | selection.negative,
        selection.chosen_positive | selection.chosen_negative,
    )
    np.testing.assert_array_equal(taken.sum(1), np.minimum(pool.sum(1), 24))
    assert losses[0][taken[0]].min() >= losses[0][pool[0] & ~taken[0]].max()
    # More than the quota of 6: the rule looks at the loss alone.
    assert selection.chosen_positive.numpy()[0].sum() > 6
    assert not np.any(selection.chosen_positive & ~selection.positive)
    assert not np.any(selection.chosen_negative & ~selection.negative)


def test_score_ranked_is_isr_of_the_background():
    boxes, gt, classes, mined = scene()
    selection = select(boxes, gt, classes, mined, **WEIGHS)
    plain = select(boxes, gt, classes, mined)
    np.testing.assert_array_equal(selection.chosen_positive, plain.chosen_positive)
    positives = tf.reduce_sum(tf.cast(selection.chosen_positive, tf.int32), 1)
    seeds = tf.random.experimental.stateless_split(SEED, 2, alg="philox")
    expected, weights = isr_negative_sample(
        best_foreground(mined.class_logits)[1],
        mined.boxes,
        selection.negative,
        24 - positives,
        losses_of(selection, classes, mined),
        seed=seeds[1],
    )
    np.testing.assert_array_equal(selection.chosen_negative, expected)
    found, chosen = numpy(selection.weights, selection.chosen_negative)
    assert_close(found[chosen], weights.numpy()[chosen], of=ELEMENTWISE)
    np.testing.assert_array_equal(found[~chosen], 1)
    assert len(np.unique(found[0][chosen[0]])) > 5


def test_the_settings_of_score_ranked_reach_it():
    boxes, gt, classes, mined = scene()
    base = select(boxes, gt, classes, mined, **WEIGHS).weights.numpy()
    for setting in (
        {"k": 2.0},
        {"bias": 0.5},
        {"score_threshold": 0.5},
        {"group_iou_threshold": 0.9},
    ):
        other = select(boxes, gt, classes, mined, **WEIGHS, **setting).weights
        assert np.any(np.abs(base - other) > 1e-3), setting


def test_all_takes_every_labelled_candidate():
    boxes, gt, classes, mined = scene()
    selection = select(boxes, gt, classes, mined, **RULES["all"])
    np.testing.assert_array_equal(selection.chosen_positive, selection.positive)
    np.testing.assert_array_equal(selection.chosen_negative, selection.negative)
    assert np.all(selection.weights == 1)
    assert selection.positive.numpy()[0].sum() > 24
    # The gap between two thresholds stays ignored.
    gap = RULES["all"] | {"background_iou_high_threshold": 0.3}
    selection = select(boxes, gt, classes, mined, **gap)
    taken = numpy(selection.chosen_positive | selection.chosen_negative)[0]
    iou = selection.iou.numpy()
    np.testing.assert_array_equal(taken, (iou >= 0.5) | ((iou >= 0) & (iou < 0.3)))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_images_without_objects_or_candidates(rule):
    boxes, gt, classes, mined = scene()
    selection = select(boxes, gt, classes, mined, **rule)
    chosen, drawn = numpy(selection.chosen_positive, selection.chosen_negative)
    assert not chosen[1].any()
    assert drawn[1].sum() == (120 if rule == RULES["all"] else 24)
    assert (chosen | drawn)[2].sum() == 1
    assert not (chosen | drawn)[3].any()
    assert np.all(np.isfinite(selection.weights))
    without = select(boxes, gt[:, :0], classes[:, :0], mined, **rule)
    np.testing.assert_array_equal(without.chosen_positive, np.zeros([4, 120], bool))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_graph_and_xla_choose_what_eager_chooses(rule, jit_compile):
    def run(*inputs):
        return select(*inputs, **rule)

    expected = run(*scene())
    for a, b in zip(
        tf.function(run, jit_compile=jit_compile)(*scene()), expected, strict=True
    ):
        assert_close(np.float64(a), np.float64(b), of=REDUCTION, scale=1.0)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_gradient_to_the_head_or_the_boxes(rule):
    boxes, gt, classes, mined = scene()
    with tf.GradientTape() as tape:
        tape.watch([boxes, *mined])
        selection = select(boxes, gt, classes, mined, **rule)
        loss = tf.reduce_sum(selection.weights * mined.class_logits[..., 0])
        loss += tf.reduce_sum(selection.iou)
    to_boxes, to_logits, to_mined = tape.gradient(loss, [boxes, *mined])
    assert to_boxes is None
    assert to_mined is None
    np.testing.assert_array_equal(to_logits[..., 0], selection.weights)
    assert not np.any(to_logits[..., 1:])


def test_bfloat16_answers_of_the_head():
    boxes, gt, classes, mined = scene()
    logits = tf.cast(mined.class_logits, tf.bfloat16)
    for rule in (RULES["hardest"], WEIGHS):
        half = select(boxes, gt, classes, mined._replace(class_logits=logits), **rule)
        wide = mined._replace(class_logits=tf.cast(logits, tf.float32))
        for a, b in zip(half, select(boxes, gt, classes, wide, **rule), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [name for name in RULES if name != "all"])
def test_a_mined_rule_needs_the_heads_answer(name):
    boxes, gt, classes, mined = scene()
    for arguments in ({"mined": mined}, {"gt_classes": classes}, {}):
        with pytest.raises(ValueError, match=r"need the head's answer .* gt_classes"):
            select_rois(
                boxes, gt, rule=SamplingRule(**RULES[name]), seed=SEED, **arguments
            )
