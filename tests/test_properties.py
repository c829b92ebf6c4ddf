"""Every loss, sampler and layer, of any shape: padding unseen, results finite.

`property_cases` enumerates them and says how each is called. Numbers are random from
fixed seeds; a few examples run daily, many nightly.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import dense_batches
import numpy as np
import property_cases as cases
import pytest
import tensorflow as tf
import tf_keras
from property_cases import JUNK, PADDING, SHAPES
from tolerances import NETWORK, REDUCTION, assert_close

from libra_tf import layers, losses, samplers
from libra_tf.criteria.dense import dense_losses, needed_states
from libra_tf.criteria.head_losses import Losses
from libra_tf.criteria.rcnn import rcnn_losses, rpn_losses
from libra_tf.experiments import loss_config
from libra_tf.experiments.class_loss_config import CLASS_LOSSES
from libra_tf.layers.running_state import RunningState
from libra_tf.losses.residual_objectness import (
    INITIAL_EXPECTED_POSITIVES,
    next_expected_positives,
)
from libra_tf.ops import sampling
from libra_tf.samplers import rule as rules
from libra_tf.samplers import score_ranked

SEED = tf.constant([3, 5])
NIGHTLY = pytest.mark.nightly


def few_or(many, few):
    """The number of examples: daily `few`, nightly `many`."""
    return pytest.mark.parametrize(
        "count", [few, pytest.param(many, marks=NIGHTLY)], ids=["few", "many"]
    )


def assert_finite(*values):
    for value in tf.nest.flatten(values):
        assert np.isfinite(np.asarray(value)).all(), value


def assert_same(actual, expected):
    tf.nest.assert_same_structure(actual, expected)
    for one, other in zip(*map(tf.nest.flatten, (actual, expected)), strict=True):
        np.testing.assert_array_equal(one, other)


# Whether all are there


@pytest.mark.parametrize(
    ("room", "table"),
    [(losses, cases.LOSSES), (samplers, cases.SAMPLERS), (layers, cases.LAYERS)],
    ids=["losses", "samplers", "layers"],
)
def test_every_public_name_has_a_case(room, table):
    known = {name.split(",")[0] for name in table}
    parts = cases.PARTS[room.__name__.split(".")[-1]]
    assert not known & parts.keys()
    draws = set() if room is not samplers else cases.functions(sampling)
    assert cases.public_names(room) | draws == known | parts.keys()


# Losses


def row_specs():
    """Of `Rows` of any shape."""
    example = cases.rows((1, 1), "padding", 0)
    specs = [tf.TensorSpec([None, None, *x.shape[2:]], x.dtype) for x in example]
    return cases.Rows(*specs)


@functools.cache
def graph(name):
    """Loss and gradients of a batch of any shape, traced once."""
    case = cases.LOSSES[name]

    @tf.function(input_signature=[row_specs()], autograph=False)
    def run(batch):
        watched = {name: getattr(batch, name) for name in cases.PREDICTIONS}
        with tf.GradientTape() as tape:
            tape.watch(watched)
            loss = case.of(batch)
        return loss, tape.gradient(loss, watched, unconnected_gradients="zero")

    return run


@pytest.mark.parametrize("name", cases.LOSSES)
@few_or(60, few=14)
def test_a_loss_does_not_see_padding(name, count):
    run, case = graph(name), cases.LOSSES[name]
    for number, batch in enumerate(cases.batches(count)):
        loss, gradients = run(batch)
        padding = batch.kinds == PADDING
        for junk in (JUNK[0], JUNK[1 + number % (len(JUNK) - 1)]):
            spoiled, spoiled_gradients = run(cases.filled(batch, junk))
            np.testing.assert_array_equal(spoiled, loss)
            for key, gradient in spoiled_gradients.items():
                gradient = gradient.numpy()
                expected = gradients[key].numpy()[~padding]
                np.testing.assert_array_equal(gradient[~padding], expected)
                if case.knows_padding:
                    assert not gradient[padding].any(), (key, junk)


@pytest.mark.parametrize("extreme", [False, True], ids=["usual", "extreme"])
@pytest.mark.parametrize("name", cases.LOSSES)
@few_or(100, few=15)
def test_a_loss_is_finite(name, extreme, count):
    run, case = graph(name), cases.LOSSES[name]
    for batch in cases.batches(count, extreme=extreme):
        loss, gradients = run(batch)
        assert_finite(loss, gradients)
        assert loss.dtype == tf.float32
        if case.nonnegative:
            assert loss >= 0
        if batch.kinds.shape[0] == 0 or not batch.valid.numpy().any():
            assert_same(gradients, tf.nest.map_structure(tf.zeros_like, gradients))


@pytest.mark.parametrize("name", cases.LOSSES)
@few_or(45, few=10)
def test_the_order_of_rows_is_nothing_to_a_loss(name, count):
    rng = np.random.default_rng(0)
    for batch in cases.batches(count):
        order = rng.permutation(batch.kinds.shape[1])
        permuted = cases.Rows(*[tf.gather(x, order, axis=1) for x in batch])
        loss, gradients = graph(name)(batch)
        moved, moved_gradients = graph(name)(permuted)
        assert_close(moved, loss, of=REDUCTION, scale=max(abs(loss), 1))
        for key, gradient in gradients.items():
            expected = tf.gather(gradient, order, axis=1).numpy()
            scale = np.abs(expected).max(initial=0)
            assert_close(moved_gradients[key], expected, of=REDUCTION, scale=scale)


@pytest.mark.parametrize("name", [k for k, x in cases.LOSSES.items() if x.doubling])
@few_or(60, few=10)
def test_a_batch_given_twice(name, count):
    """A sum doubles, a mean stays."""
    factor = cases.LOSSES[name].doubling
    for batch in cases.batches(count):
        if not batch.valid.numpy().any():
            continue
        loss, _ = graph(name)(batch)
        twice, _ = graph(name)(cases.Rows(*[tf.concat([x, x], 0) for x in batch]))
        assert_close(twice, factor * loss, of=REDUCTION, scale=max(abs(loss), 1))


def moving_states(count, junk):
    """What GHM and residual objectness keep, after each batch."""
    class_density = box_density = None
    expected = INITIAL_EXPECTED_POSITIVES
    usual, extreme = cases.batches(count), cases.batches(count, extreme=True)
    for batch in itertools.chain.from_iterable(zip(usual, extreme, strict=True)):
        batch = cases.filled(batch, junk)
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


# Criteria: losses as detectors use them

METHODS = {
    "carl": {"weight": 0.2},
    "guided": {"enabled": True},
    "isr": {"enabled": True},
}
DENSE = {
    **{f"class {x}": {"classification": {"type": x}} for x in CLASS_LOSSES},
    **{
        f"box {x}, {normalizer}": {"box": {"type": x}, "normalizer": normalizer}
        for x, normalizer in zip(
            loss_config.ONE_STAGE_BOX_LOSSES, itertools.cycle(loss_config.NORMALIZERS)
        )
    },
    **{name: {name: setting} for name, setting in METHODS.items()},
    "levels": {"classification": {"type": "ghm_c", "ghm": {"per_level": True}}},
}
# Of each kind of batch: classes [B, A], anchors of the first level.
DENSE_BATCHES = {
    "mixed": (dense_batches.random_classes(2, 9), 4),
    "no positive": ([[-1, -1, dense_batches.IGNORED]], 1),
    "no negative": ([[1, 2, dense_batches.IGNORED]], 2),
    "ignored": ([[dense_batches.IGNORED] * 2] * 2, 1),
    "empty level": ([[1, -1, dense_batches.IGNORED]], 0),
    "no image": (np.zeros([0, 3]), 1),
}


def test_every_method_has_a_setting():
    fields = {x.name for x in dataclasses.fields(loss_config.MethodLosses)}
    assert fields == METHODS.keys()


def with_junk(values, junk, where):
    """{level: [B, 1, width, K]} with junk in rows of the mask [B, A]."""
    parts, start = {}, 0
    for level, value in values.items():
        width = value.shape[2]
        mask = where[:, np.newaxis, start : start + width, np.newaxis]
        parts[level] = tf.where(mask, tf.cast(junk, value.dtype), value)
        start += width
    return parts


def dense_result(settings, kind, junk=0.0, scale=1.0):
    """Losses, gradients and states after it, of a batch with junk where it may be."""
    classes, split = DENSE_BATCHES[kind]
    classes = np.asarray(classes, int)
    outputs, labels = dense_batches.batch(
        classes, instances=np.maximum(classes, 0), split=split, scale=scale
    )
    ignored, other = classes == dense_batches.IGNORED, classes <= 0
    outputs["cls_outputs"] = with_junk(outputs["cls_outputs"], junk, ignored)
    outputs["box_outputs"] = with_junk(outputs["box_outputs"], junk, other)
    labels["box_targets"] = with_junk(labels["box_targets"], junk, other)
    states = {k: RunningState(x) for k, x in needed_states(settings).items()}
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        found = dense_losses(
            outputs,
            labels,
            settings,
            num_classes=dense_batches.NUM_CLASSES,
            states=states,
            training=True,
        )
        total = found.total(1.0)
    gradients = tape.gradient(total, outputs, unconnected_gradients="zero")
    return found, gradients, {name: state.read() for name, state in states.items()}


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(
    "junks",
    [JUNK[:1], pytest.param(JUNK[:3], marks=NIGHTLY)],
    ids=["NaN", "infinite too"],
)
def test_losses_of_one_stage(name, junks):
    settings = dense_batches.settings(**DENSE[name])
    for kind in DENSE_BATCHES:
        expected = dense_result(settings, kind)
        assert_finite(expected)
        assert all(x >= 0 for x in expected[0])
        for junk in junks:
            assert_same(dense_result(settings, kind, junk), expected)
    assert_finite(dense_result(settings, "mixed", scale=1e30))


TWO_STAGE = {
    **{
        f"box {x}, {normalizer}": {"box": {"type": x}, "normalizer": normalizer}
        for x, normalizer in zip(
            loss_config.ELEMENTWISE_BOX_LOSSES,
            itertools.cycle(loss_config.TWO_STAGE_NORMALIZERS),
        )
    },
    **{name: {name: setting} for name, setting in METHODS.items()},
}
TABLES = {
    loss_config.NORMALIZERS: DENSE,
    loss_config.TWO_STAGE_NORMALIZERS: TWO_STAGE,
}


@pytest.mark.parametrize("normalizers", TABLES)
def test_every_normalizer_has_a_setting(normalizers):
    used = {x["normalizer"] for x in TABLES[normalizers].values() if "normalizer" in x}
    assert used == set(normalizers)


STOCK = Losses(tf.constant(1.0), tf.constant(1.0))


@functools.cache
def two_stage_graph(name):
    """Losses and gradients of a batch with junk where it may be, traced once."""
    settings = loss_config.MaskRCNNLosses()
    settings.override({"normalizer": "reference", "box": {"type": "l1"}})
    settings.override(TWO_STAGE[name])

    @tf.function(input_signature=[row_specs(), tf.TensorSpec([])], autograph=False)
    def run(batch, junk):
        return two_stage_result(settings, batch, junk)

    return run


def two_stage_result(settings, batch, junk):
    """Losses and gradients of the RPN and of the head.

    The rows of the batch are anchors and RoIs. Its classes are from 0, the labels' from
    1; the head has a background.
    """
    valid, positive = batch.valid[..., tf.newaxis], batch.positive[..., tf.newaxis]
    labels = tf.where(batch.positive, batch.classes + 1, batch.kinds)
    logits = tf.concat([batch.objectness, batch.logits], axis=-1)
    own = tf.one_hot(tf.maximum(labels, 0), cases.NUM_CLASSES + 1)[..., tf.newaxis] > 0
    deltas = tf.where(
        own & positive[..., tf.newaxis], batch.boxes[:, :, tf.newaxis], junk
    )
    outputs = {
        "class_outputs": tf.where(valid, logits, junk),
        "box_outputs": tf.reshape(
            deltas, [*tf.unstack(tf.shape(labels)), 4 * (cases.NUM_CLASSES + 1)]
        ),
        "rpn_scores": {"3": tf.where(valid, batch.objectness, junk)},
        "rpn_boxes": {"3": tf.where(positive, batch.boxes, junk)},
    }
    given = {
        "class_targets": labels,
        "box_targets": tf.where(positive, batch.box_targets, junk),
        "class_weights": tf.ones_like(batch.iou),
        "matched_gt_indices": tf.where(batch.positive, batch.instances, -1),
    }
    anchor_labels = {
        "rpn_score_targets": {"3": batch.kinds[..., tf.newaxis]},
        "rpn_box_targets": {"3": given["box_targets"]},
    }

    def one_row(levels):  # [B, A, K] -> [B, 1, A, K]
        return {level: x[:, tf.newaxis] for level, x in levels.items()}

    with tf.GradientTape() as tape:
        tape.watch(outputs)
        rpn = {k: one_row(outputs[k]) for k in ("rpn_scores", "rpn_boxes")}
        anchors = {k: one_row(x) for k, x in anchor_labels.items()}
        found = (
            rpn_losses(rpn, anchors, settings, stock=lambda *_: STOCK),
            rcnn_losses(outputs | given, {}, settings, stock=lambda *_: STOCK),
        )
        total = tf.add_n(tf.nest.flatten(found))
    return found, tape.gradient(total, outputs, unconnected_gradients="zero")


@pytest.mark.parametrize("name", TWO_STAGE)
@few_or(60, few=10)
def test_losses_of_two_stages(name, count):
    run = two_stage_graph(name)
    for number, batch in enumerate(cases.batches(count)):
        expected = run(batch, 0.0)
        assert_finite(expected)
        assert all(x >= 0 for x in tf.nest.flatten(expected[0]))
        for junk in (np.nan, JUNK[1 + number % (len(JUNK) - 1)]):
            assert_same(run(batch, junk), expected)
    for batch in cases.batches(count, extreme=True):
        assert_finite(run(batch, 0.0))


# Samplers


def pools(count):
    shares = (0.5, 0.0, 1.0, 0.1)
    for seed, shape in zip(range(count), itertools.cycle(SHAPES)):
        # (Shapes and shares go round with seven and four: every pair is met.)
        yield seed, cases.pool(shape, shares[seed % len(shares)], seed)


@functools.cache
def draw(name):
    """Draws `n` of each image of a pool of any shape, traced once."""
    example = cases.pool((1, 1), 1.0, 0)
    specs = [tf.TensorSpec([None, None, *x.shape[2:]], x.dtype) for x in example]
    signature = [cases.Pool(*specs), tf.TensorSpec([], tf.int32)]

    @tf.function(input_signature=signature, autograph=False)
    def run(pool, n):
        return cases.DRAWS[name](pool, n, SEED)

    return run


@pytest.mark.parametrize("name", cases.DRAWS)
@few_or(120, few=28)
def test_a_draw(name, count):
    """Only candidates, as many as wanted or all, whatever the others hold."""
    for seed, pool in pools(count):
        wanted = (3, 0, 1, 40, 6)[seed % 5]
        chosen = draw(name)(pool, wanted).numpy()
        candidates = pool.candidates.numpy()
        assert not (chosen & ~candidates).any()
        expected = np.minimum(candidates.sum(axis=1), wanted)
        np.testing.assert_array_equal(chosen.sum(axis=1), expected)
        spoiled = cases.spoiled(pool, JUNK[seed % len(JUNK)])
        again = draw(name)(spoiled, wanted)
        np.testing.assert_array_equal(again, chosen)


@pytest.mark.parametrize("name", ["iou_balanced", "iou_balanced_published"])
@few_or(120, few=28)
def test_every_bin_gives_its_share(name, count):
    """floor(n / K) of each, or all it has."""
    for seed, pool in pools(count):
        wanted = (3, 7, 12)[seed % 3]
        chosen = draw(name)(pool, wanted).numpy()
        bins = np.floor(pool.iou.numpy() * cases.NUM_BINS / cases.UPPER)
        for k in range(cases.NUM_BINS):
            members = pool.candidates.numpy() & (bins == k)
            share = np.minimum(members.sum(axis=1), wanted // cases.NUM_BINS)
            assert np.all((chosen & members).sum(axis=1) >= share)


@few_or(120, few=28)
def test_every_instance_gives_its_share(count):
    """round(n / G) + 1 or all it has, if that fits; else none gives more."""
    for seed, pool in pools(count):
        wanted = (3, 7, 12)[seed % 3]
        chosen = draw("instance_balanced")(pool, wanted).numpy()
        for image, candidates in enumerate(pool.candidates.numpy()):
            numbers = pool.instances.numpy()[image]
            owned = np.bincount(numbers[candidates], minlength=4)
            drawn = np.bincount(numbers[chosen[image]], minlength=4)
            quota = round(wanted / max(np.count_nonzero(owned), 1)) + 1
            share = np.minimum(owned, quota)
            if share.sum() <= wanted:
                assert np.all(drawn >= share)
            else:
                assert np.all(drawn <= share)


@few_or(120, few=28)
def test_nothing_harder_is_left(count):
    for seed, pool in pools(count):
        chosen = draw("hardest")(pool, (3, 7, 12)[seed % 3]).numpy()
        left = pool.candidates.numpy() & ~chosen
        values = pool.values.numpy()
        lowest = np.where(chosen, values, np.inf).min(axis=1, initial=np.inf)
        highest = np.where(left, values, -np.inf).max(axis=1, initial=-np.inf)
        assert np.all(lowest >= highest)


@few_or(100, few=28)
def test_weights_of_a_ranked_draw(count):
    """Finite, 0 where not chosen, and the total of the chosen stays."""

    @tf.function(reduce_retracing=True, autograph=False)
    def ranked(scores, boxes, candidates, values):
        return score_ranked.isr_negative_sample(
            scores, boxes, candidates, 5, values, seed=SEED
        )

    for _, pool in pools(count):
        # Tame: a total of 1e30 hides what is wrong with one of 1.
        pool = pool._replace(values=tf.minimum(pool.values, 10.0))
        chosen, weights = ranked(pool.scores, pool.boxes, pool.candidates, pool.values)
        assert_finite(weights)
        chosen, weights = chosen.numpy(), weights.numpy()
        assert (weights >= 0).all()
        assert not weights[~chosen].any()
        values = np.where(chosen, pool.values, 0).sum(axis=1)
        weighted = np.where(chosen, weights * pool.values, 0).sum(axis=1)
        assert_close(weighted, values, of=REDUCTION)


ANCHOR_SIZES = ([(1, 1)], [(3, 5), (2, 3), (1, 1)], [(0, 4), (1, 1)], [(7, 9), (1, 3)])


def anchor_batch(seed, sizes):
    """Labels and anchors of levels with two anchors a cell, and ground truth."""
    rng = np.random.default_rng(seed)
    images = (2, 1, 3, 0)[seed % 4]
    shares = ((0.1, 0.6, 0.3), (0, 1, 0), (0, 0, 1), (0.7, 0.3, 0))[seed // 4 % 4]
    labels, anchors = {}, {}
    for level, size in enumerate(sizes, start=3):
        shape = (images, *size, 2)
        labels[str(level)] = tf.constant(rng.choice([1, 0, -1], shape, p=shares))
        corners = rng.uniform(-20, 60, (*shape, 2))
        boxes = np.concatenate([corners, corners + rng.choice([0, 8, 1e30], 2)], -1)
        boxes = boxes.reshape(images, *size, 8)
        anchors[str(level)] = tf.constant(boxes, tf.float32)
    gt = [[0, 0, 30, 30], [5, 5, 5, 9], [-1, -1, -1, -1]][: 3 - seed % 3]
    gt = np.broadcast_to(np.float32(gt).reshape(-1, 4), (images, 3 - seed % 3, 4))
    return labels, anchors, tf.constant(gt)


@pytest.mark.parametrize("name", cases.ANCHOR_DRAWS)
@few_or(48, few=16)
def test_a_draw_of_anchors(name, count):
    """Labels stay or become ignored; as many stay as the quota lets."""
    for seed in range(count):
        labels, anchors, gt = anchor_batch(seed, ANCHOR_SIZES[seed * 5 // 4 % 4])
        drawn = cases.ANCHOR_DRAWS[name](labels, anchors, gt, SEED)
        assert drawn.keys() == labels.keys()
        for level, label in labels.items():
            assert drawn[level].shape == label.shape
            assert drawn[level].dtype == label.dtype
        before, after = (
            np.concatenate(
                [x.numpy().reshape(len(x), math.prod(x.shape[1:])) for x in y.values()],
                axis=1,
            )
            for y in (labels, drawn)
        )
        assert np.all((after == before) | (after == -1))
        positives, negatives = ((before == x).sum(axis=1) for x in (1, 0))
        kept = cases.kept_anchors(name, positives, negatives)
        np.testing.assert_array_equal((after == 1).sum(axis=1), kept[0])
        np.testing.assert_array_equal((after == 0).sum(axis=1), kept[1])

        if name == "sample_anchors" and seed % 2:  # the only one to look at boxes
            junk = JUNK[seed % len(JUNK)]
            ignored = {k: np.repeat(x == -1, 4, axis=-1) for k, x in labels.items()}
            spoiled = {k: tf.where(ignored[k], junk, x) for k, x in anchors.items()}
            assert_same(cases.ANCHOR_DRAWS[name](labels, spoiled, gt, SEED), drawn)


def valid_rules():
    """Every way to draw positives with every way to draw negatives that goes."""
    for positives, negatives in itertools.product(rules.POSITIVES, rules.NEGATIVES):
        for without_quota in (False, True):
            try:
                yield samplers.SamplingRule(
                    num_sampled_rois=6,
                    foreground_fraction=0.5,
                    positives=positives,
                    negatives=negatives,
                    without_quota=without_quota,
                )
            except ValueError:
                continue


RULES = {f"{x.positives} {x.negatives} {x.without_quota}": x for x in valid_rules()}
# Daily, no two choices that differ from "random" meet, but where they must.
EVERY_RULE = pytest.mark.parametrize(
    "name",
    [
        name
        if "random" in (x.positives, x.negatives) or x.without_quota or x.draws_nothing
        else pytest.param(name, marks=NIGHTLY)
        for name, x in RULES.items()
    ],
)


def test_every_choice_is_in_a_rule():
    assert {x.positives for x in RULES.values()} == set(rules.POSITIVES)
    assert {x.negatives for x in RULES.values()} == set(rules.NEGATIVES)
    assert any(x.without_quota for x in RULES.values())


GT_BOXES = np.float32([[0, 0, 30, 30], [40, 40, 60, 70], [9, 9, 9, 20]])


def proposals(shape, seed):
    """Boxes, which of them are none, ground truth and its classes."""
    rng = np.random.default_rng(seed)
    images = shape[0]
    truth = np.broadcast_to(GT_BOXES, (images, 3, 4)).copy()
    classes = np.tile(np.int32([1, 2, 1]), (images, 1))
    truth[: seed % 3], classes[: seed % 3] = -1, -1  # images without ground truth
    near = truth[np.arange(images)[:, None], rng.integers(0, 3, shape)]
    boxes = near + rng.normal(0, rng.choice([0.5, 6, 50], (*shape, 1)), (*shape, 4))
    huge = rng.random(shape) < 0.1
    boxes[huge, 2:] = 1e30
    none = rng.random(shape) < 0.3
    empty = rng.random(shape) < 0.1
    boxes[empty, 2:] = boxes[empty, :2]
    boxes[none] = -1
    return boxes.astype(np.float32), none, truth, classes


def junk_head(boxes, junk, none):
    """The head's answer, the same for the same box; junk for what is none."""
    codes = tf.sin(tf.reduce_sum(boxes, axis=-1, keepdims=True) * [1.0, 3.0, 7.0])
    logits = tf.where(none[..., tf.newaxis], junk, 3.0 * codes)
    return samplers.MinedRoIs(logits, tf.where(none[..., tf.newaxis], junk, boxes))


@functools.cache
def selection(name):
    """The selection of boxes of any number, traced once."""
    boxes = tf.TensorSpec([None, None, 4])
    mined = samplers.MinedRoIs(tf.TensorSpec([None, None, 3]), boxes)
    classes = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[boxes, boxes, classes, mined], autograph=False)
    def run(boxes, truth, classes, mined):
        return samplers.select_rois(
            boxes, truth, rule=RULES[name], gt_classes=classes, mined=mined, seed=SEED
        )

    return run


@EVERY_RULE
@few_or(21, few=7)
def test_a_selection_of_rois(name, count):
    rule = RULES[name]
    for seed, shape in zip(range(count), itertools.cycle(SHAPES)):
        boxes, none, truth, classes = proposals(shape, seed)

        def select(junk, boxes=boxes, none=none, truth=truth, classes=classes):
            filled = np.where(none[..., np.newaxis], junk, boxes)
            mined = junk_head(boxes, junk, none)
            return selection(name)(filled.astype(np.float32), truth, classes, mined)

        found = select(-1.0)
        assert_selection(found, rule, none)
        for junk in (np.nan, JUNK[1 + seed % 2]):
            again = select(junk)
            assert_same(again._replace(boxes=found.boxes), found)


def assert_selection(found, rule, none):
    """Candidates are boxes; the chosen, as many as the rule says, are of their kind."""
    found = samplers.RoISelection(*[x.numpy() for x in found])
    boxes, iou = found.boxes, found.iou
    assert_finite(iou, found.weights)
    assert (found.weights >= 0).all()
    assert not (found.positive & found.negative).any()
    real = ~none & (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)
    assert not ((found.positive | found.negative) & ~real).any()
    assert (iou[found.positive] >= rule.foreground_iou_threshold).all()
    assert (iou[found.negative] < rule.background_iou_high_threshold).all()
    assert not (found.chosen_positive & ~found.positive).any()
    assert not (found.chosen_negative & ~found.negative).any()
    positives, negatives = (x.sum(axis=1) for x in (found.positive, found.negative))
    if rule.draws_nothing:
        expected = positives, negatives
    else:
        quota = int(rule.num_sampled_rois * rule.foreground_fraction)
        first = np.minimum(positives, quota)
        expected = first, np.minimum(negatives, rule.num_sampled_rois - first)
    chosen = [x.sum(axis=1) for x in (found.chosen_positive, found.chosen_negative)]
    if rule.without_quota:
        wanted = np.minimum(positives + negatives, rule.num_sampled_rois)
        np.testing.assert_array_equal(sum(chosen), wanted)
    else:
        np.testing.assert_array_equal(chosen, expected)


@EVERY_RULE
@few_or(12, few=4)
def test_rows_of_the_roi_sampler(name, count):
    """Chosen boxes are proposals or objects, each once; all else is fill."""
    sampler, rule = samplers.RoISampler(RULES[name]), RULES[name]
    for seed, shape in zip(range(count), itertools.cycle(SHAPES)):
        boxes, none, truth, classes = proposals(shape, seed)
        boxes = np.where(none[..., np.newaxis], np.nan, boxes)
        found = sampler.sample(
            tf.constant(boxes, tf.float32),
            tf.constant(truth),
            tf.constant(classes),
            miner=lambda x: junk_head(x, 0.0, np.zeros(x.shape[:2], bool)),
        )
        labels = found.gt_classes.numpy()
        assert_finite(found.class_weights)
        if not rule.draws_nothing:
            assert labels.shape == (shape[0], rule.num_sampled_rois)
            assert_finite([x for x in found if x is not None])
        given = np.concatenate([boxes, truth], axis=1)
        for image, row in enumerate(labels):
            rois = found.rois.numpy()[image]
            trained = rois[row >= 0]
            known = given[image].tolist()
            for roi in trained.tolist():
                known.remove(roi)  # raises if chosen more often than given
            assert (trained[:, 2:] > trained[:, :2]).all()
            index = found.gt_indices.numpy()[image]
            assert (index[row <= 0] == -1).all()
            np.testing.assert_array_equal(row[row > 0], classes[image, index[row > 0]])


# Layers

SIZES = [(5, 7), (1, 1), (8, 8), (13, 4), (1, 6)]


@functools.cache
def layer(name):
    """A layer that is built for inputs of any size."""
    tf_keras.utils.set_random_seed(1)
    return cases.LAYERS[name].make()


def features(name, size, images, seed=0):
    return cases.LAYERS[name].inputs(size, images, np.random.default_rng(seed))


def but_the_largest(names):
    """Names of layers; nightly the one that takes as long as all others."""
    return [
        pytest.param(name, marks=NIGHTLY) if name == "TorchResNet" else name
        for name in names
    ]


def by_level(values):
    """A structure of levels as a dict: of numbers, or of places in a list."""
    if isinstance(values, dict):
        return {int(level): value for level, value in values.items()}
    return dict(enumerate(values if isinstance(values, list) else [values]))


def projected(output):
    """A sum with weights of both signs, so that no gradient cancels."""
    weights = tf.random.stateless_normal(tf.shape(output), (1, 2))
    return tf.reduce_sum(tf.cast(output, tf.float32) * weights)


@pytest.mark.parametrize("name", but_the_largest(cases.LAYERS))
@pytest.mark.parametrize(
    "examples",
    [
        [(SIZES[0], 1e4)],
        pytest.param([(size, 1.0) for size in SIZES], marks=NIGHTLY),
    ],
    ids=["few", "many"],
)
def test_a_layer(name, examples):
    """Shapes and types, finite results, a gradient for every input and weight."""
    case = cases.LAYERS[name]
    for size, scale in examples:
        given = tf.nest.map_structure(
            functools.partial(tf.multiply, scale), features(name, size, 2)
        )
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(given)
            outputs = by_level(layer(name)(given))
            sums = {level: projected(x) for level, x in outputs.items()}
            total = tf.add_n(list(sums.values()))
        assert_finite(outputs)
        inputs = by_level(given)
        for level, output in outputs.items():
            assert output.dtype == tf.float32
            if case.keeps_shape:
                assert output.shape == inputs[level].shape
        weights = layer(name).trainable_weights
        gradients = tape.gradient(total, weights)
        assert None not in gradients
        assert_finite(gradients)
        for level, value in sums.items():
            reached = tape.gradient(value, inputs, unconnected_gradients="zero")
            assert_finite(reached)
            for source, gradient in reached.items():
                is_reached = bool(np.any(gradient))
                assert is_reached == case.reaches(level, source), (level, source)


@pytest.mark.parametrize("name", cases.LAYERS)
@pytest.mark.parametrize(
    "sizes", [SIZES[:2], pytest.param(SIZES, marks=NIGHTLY)], ids=["few", "many"]
)
def test_images_do_not_meet_in_a_layer(name, sizes):
    """Junk in one leaves the others, in any order; a batch may be empty."""
    for size, junk in zip(sizes, JUNK, strict=False):
        given = features(name, size, 3)
        expected = by_level(layer(name)(given))
        last = tf.constant([False, False, True])[:, None, None, None]
        spoiled = tf.nest.map_structure(
            functools.partial(tf.where, last, tf.constant(junk, tf.float32)), given
        )
        for level, output in by_level(layer(name)(spoiled)).items():
            np.testing.assert_array_equal(output[:2], expected[level][:2])
        turned = tf.nest.map_structure(lambda x: x[::-1], given)
        for level, output in by_level(layer(name)(turned)).items():
            assert_close(output[::-1], expected[level], of=NETWORK)
        for level, output in by_level(layer(name)(features(name, size, 0))).items():
            assert output.shape == [0, *expected[level].shape[1:]]


@pytest.mark.parametrize(
    "name", but_the_largest({x.split(",")[0]: x for x in cases.LAYERS}.values())
)
def test_a_layer_keeps_the_type_of_mixed_precision(name):
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        made = cases.LAYERS[name].make()
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    outputs = made(features(name, (5, 7), 2))
    assert {x.dtype for x in tf.nest.flatten(outputs)} == {tf.bfloat16}
    assert {x.dtype for x in made.trainable_weights} <= {tf.float32}
    assert_finite(tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), outputs))
