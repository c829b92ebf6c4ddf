"""How each loss, sampler and layer is called, and batches of any shape to call it with.

A public name of the rooms `losses`, `samplers` and `layers` is in one of the tables
here, or `test_properties` fails: `LOSSES`, `SAMPLERS` and `LAYERS` say how to call it,
`PARTS` of what it is a part.

Shape shorthand in this module: B images, A rows (anchors or RoIs), C classes.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from libra_tf import layers, losses
from libra_tf.layers.torch_fpn import EXTRA_LEVELS, NearestLike, TorchFPN
from libra_tf.layers.torch_resnet import GroupedConv2D, TorchResNet
from libra_tf.losses.gradient_density import GradientHarmonized
from libra_tf.ops import sampling
from libra_tf.samplers import anchor_sampler, score_ranked

NUM_CLASSES = 3
POSITIVE, NEGATIVE, PADDING = 1, 0, -1
JUNK = (np.nan, np.inf, -np.inf, 1e38, -1e38)
# A sigmoid rounds to 1 above 17, an exponential leaves float32 above 88.
EXTREMES = (0.0, 20.0, 88.0, -89.0, 1e4, -1e4, 1e30, -1e30)
SHAPES = ((2, 7), (1, 1), (3, 33), (1, 0), (0, 4), (2, 1), (1, 64))
MIXES = {
    "all kinds": (0.2, 0.5, 0.3),
    "no positive": (0.0, 0.6, 0.4),
    "no negative": (0.6, 0.0, 0.4),
    "padding": (0.0, 0.0, 1.0),
    "no padding": (0.3, 0.7, 0.0),
}


# Arrays, and in a graph tensors.
Numbers = np.ndarray | tf.Tensor


def public_names(room: ModuleType) -> set[str]:
    """Functions and classes of a room: those its door names, and its modules'."""
    names = set(room.__all__)
    for module in pkgutil.iter_modules(room.__path__):
        names |= functions(importlib.import_module(f"{room.__name__}.{module.name}"))
    return names


def functions(module: ModuleType) -> set[str]:
    """Public functions and classes that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if callable(value)
        and getattr(value, "__module__", None) == module.__name__
        and not name.startswith("_")
    }


# Names that are no loss, sampler or layer, and what they are.
PARTS = {
    "losses": {
        "GradientHarmonized": "result of ghm_c and ghm_r",
        "GradientHarmonizedLoss": "base of GHMCLoss and GHMRLoss",
        "ResidualObjectnessLosses": "result of residual_objectness",
        "bin_index": "of ghm_c and ghm_r",
        "check_numbers": "of ghm_c and ghm_r",
        "count": "of ghm_c and ghm_r",
        "harmonize": "of ghm_c and ghm_r",
        "next_expected_positives": "state beside residual_objectness",
        "RowLoss": "base of BalancedL1Loss and FocalLoss",
        "prepare": "of ghm_c and ghm_r",
    },
    "samplers": {
        "MinedRoIs": "what a sampler is told",
        "RoISelection": "result of select_rois",
        "SampledRoIs": "result of RoISampler",
        "SamplingRule": "settings of select_rois and RoISampler",
        "best_foreground": "of select_rois",
        "class_losses": "of select_rois",
        "has_area": "of select_rois",
        "match": "of select_rois",
        "pad_rows": "of select_rois",
    },
    "layers": {
        "ResNetShape": "sizes of TorchResNet",
        "RunningState": "no input; kept by the losses of test_dense_*",
        "common_channels": "of the pyramids",
        "derived_seed": "of initial weights",
        "has_grouped_gradient": "of GroupedConv2D",
        "seeded": "of initial weights",
        "sorted_levels": "of the pyramids",
    },
}


class Rows(NamedTuple):
    """A batch as losses see it; in a padded row everything but the first three is junk.

    Attributes:
        kinds: `int32` [B, A], `POSITIVE`, `NEGATIVE` or `PADDING`.
        classes: `int32` [B, A], -1 where not positive.
        instances: `int32` [B, A], unique over the batch; -1 where not positive.
        targets: [B, A, C], one-hot class of a positive.
        logits: [B, A, C].
        objectness: [B, A, 1], logits.
        probability: [B, A], of the class of a positive.
        box_targets: [B, A, 4].
        boxes: [B, A, 4].
        iou: [B, A], in [0, 1].
        errors: [B, A], >= 0, the loss of each row.
    """

    kinds: Numbers
    classes: Numbers
    instances: Numbers
    targets: Numbers
    logits: Numbers
    objectness: Numbers
    probability: Numbers
    box_targets: Numbers
    boxes: Numbers
    iou: Numbers
    errors: Numbers

    @property
    def positive(self) -> tf.Tensor:
        """`bool` [B, A]."""
        return tf.equal(self.kinds, POSITIVE)

    @property
    def valid(self) -> tf.Tensor:
        """`bool` [B, A], what is no padding."""
        return tf.not_equal(self.kinds, PADDING)

    @property
    def labels(self) -> tf.Tensor:
        """[B, A, C], 1 and 0, -1 in padding."""
        return tf.where(self.valid[..., tf.newaxis], self.targets, -1.0)


MARKS = ("kinds", "classes", "instances")
VALUES = tuple(name for name in Rows._fields if name not in MARKS)
PREDICTIONS = ("logits", "objectness", "probability", "boxes", "errors")


def rows(shape: tuple[int, int], mix: str, seed: int, *, extreme: bool = False) -> Rows:
    """A random batch, padding 0.

    Args:
        shape: B, A.
        mix: which kinds of rows, one of `MIXES`.
        seed: of everything.
        extreme: predictions as large as float32 allows, probabilities of 0 and 1.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(shape)
    kinds = rng.choice([POSITIVE, NEGATIVE, PADDING], shape, p=MIXES[mix])
    classes = np.where(kinds == POSITIVE, rng.integers(0, NUM_CLASSES, shape), -1)
    instances = rng.integers(0, 3, shape) + 3 * np.arange(shape[0])[:, np.newaxis]

    def prediction(*size: int) -> np.ndarray:
        if extreme:
            return rng.choice(EXTREMES, shape + size)
        return rng.normal(0, 2, shape + size)

    boxes, probability = prediction(4), rng.random(shape)
    iou, errors = rng.random(shape), np.abs(prediction())
    if extreme:
        probability, iou = np.round(probability), np.round(iou)
    values = {
        "targets": np.eye(NUM_CLASSES)[classes] * (kinds == POSITIVE)[..., None],
        "logits": prediction(NUM_CLASSES),
        "objectness": prediction(1),
        "probability": probability,
        "box_targets": rng.normal(0, 2, (*shape, 4)),
        "boxes": boxes,
        "iou": iou,
        "errors": errors,
    }
    marks = {
        "kinds": kinds,
        "classes": classes,
        "instances": np.where(kinds == POSITIVE, instances, -1),
    }
    batch = Rows(
        **{name: value.astype(np.int32) for name, value in marks.items()},
        **{name: value.astype(np.float32) for name, value in values.items()},
    )
    return filled(batch, 0.0)


def filled(batch: Rows, junk: float) -> Rows:
    """The batch with `junk` for every value of a padded row."""
    changed = {}
    for name in VALUES:
        value = getattr(batch, name).copy()
        value[batch.kinds == PADDING] = junk
        changed[name] = value
    return batch._replace(**changed)


@functools.cache
def batches(count: int, *, extreme: bool = False) -> list[Rows]:
    """The first `count` of all shapes with all mixes, then of larger ones at random."""
    pairs = list(itertools.product(SHAPES, MIXES))
    # A stride that shares no factor with their number: few examples have all of both.
    order = [pairs[i * 11 % len(pairs)] for i in range(len(pairs))]
    rng = np.random.default_rng(count)
    for _ in range(count - len(order)):
        shape = int(rng.integers(0, 5)), int(rng.integers(0, 200))
        order.append((shape, str(rng.choice(list(MIXES)))))
    return [rows(*order[seed], seed, extreme=extreme) for seed in range(count)]


class Loss(NamedTuple):
    """How a loss is called.

    Attributes:
        call: gives the loss of a batch: a scalar, or values [B, A, ...].
        knows_padding: whether an argument tells it what is padding. Otherwise a value
            depends on its own row alone, and padding is left out by whoever adds up.
        doubling: the factor of the loss of a batch that is given twice; None where the
            formula has none.
        nonnegative: whether it is never below 0.
    """

    call: Callable[[Rows], tf.Tensor]
    knows_padding: bool = True
    doubling: float | None = None
    nonnegative: bool = True

    def of(self, batch: Rows) -> tf.Tensor:
        """The loss of a batch, a scalar."""
        values = self.call(batch)
        if not self.knows_padding:
            valid = batch.valid[..., tf.newaxis]
            values = tf.where(valid, values, 0.0)
        return tf.reduce_sum(values)


def _flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1])


def _row_weights(batch: Rows) -> tf.Tensor:
    return tf.cast(batch.valid, tf.float32)


def _positive_weights(batch: Rows) -> tf.Tensor:
    return tf.cast(batch.positive, tf.float32)


def _boxes(loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], **kwargs: object) -> Loss:
    function = functools.partial(loss, **kwargs)
    return Loss(
        lambda batch: function(batch.box_targets, batch.boxes),
        knows_padding=False,
        doubling=2,
    )


def _harmonized(result: GradientHarmonized) -> tf.Tensor:
    return tf.reduce_sum(result.values) / result.total


def _twin(
    loss: tf_keras.losses.Loss, target: str, prediction: str, doubling: float
) -> Loss:
    weights = _row_weights if prediction == "logits" else _positive_weights
    return Loss(
        lambda b: loss(
            getattr(b, target), getattr(b, prediction), sample_weight=weights(b)
        ),
        doubling=doubling,
    )


def _ranking(loss: Callable[..., tf.Tensor], **kwargs: object) -> Loss:
    """A loss of labels; without `doubling`: a copy of a row is one more to rank."""
    return Loss(lambda b: loss(b.labels, b.logits, **kwargs))


def _carl(batch: Rows) -> tf.Tensor:
    return losses.carl(
        _flat(batch.probability), _flat(batch.errors), _flat(batch.positive)
    )


def _isr(batch: Rows) -> tf.Tensor:
    return losses.isr_positive_weights(
        *map(_flat, (batch.iou, batch.classes, batch.instances, batch.positive)),
        _flat(batch.errors),
    )


def _guided(batch: Rows) -> tf.Tensor:
    """Of sums: it gets no rows, so that padding is gone before."""
    class_loss = tf.reduce_sum(tf.where(batch.valid, batch.errors, 0.0))
    boxes = tf.where(batch.positive[..., tf.newaxis], batch.boxes, 0.0)
    return losses.guided(class_loss, tf.reduce_sum(tf.abs(boxes)))


def _ghm_c(batch: Rows) -> tf.Tensor:
    valid = batch.valid[..., tf.newaxis]
    return _harmonized(losses.ghm_c(batch.targets, batch.logits, valid, momentum=0.0))


def _ghm_r(batch: Rows) -> tf.Tensor:
    valid = batch.positive[..., tf.newaxis]
    return _harmonized(losses.ghm_r(batch.box_targets, batch.boxes, valid))


def _residual_objectness(batch: Rows) -> tf.Tensor:
    return tf.add_n(
        losses.residual_objectness(
            batch.positive, batch.valid, batch.targets, batch.objectness, batch.logits
        )
    )


_dr = losses.distributional_ranking
LOSSES = {
    "AveragePrecisionLoss": _ranking(losses.AveragePrecisionLoss()),
    "BalancedL1Loss": _twin(
        losses.BalancedL1Loss(reduction="sum"), "box_targets", "boxes", 2
    ),
    "DistributionalRankingLoss": _ranking(losses.DistributionalRankingLoss()),
    "FocalLoss": _twin(losses.FocalLoss(reduction="sum"), "targets", "logits", 2),
    "GHMCLoss": _twin(losses.GHMCLoss(), "targets", "logits", 1),
    "GHMRLoss": _twin(losses.GHMRLoss(), "box_targets", "boxes", 1),
    "average_precision": _ranking(losses.average_precision),
    "average_precision, plain": _ranking(losses.average_precision, interpolated=False),
    "balanced_l1": _boxes(losses.balanced_l1),
    "balanced_l1, reference": _boxes(losses.balanced_l1, form="reference", beta=0.11),
    "carl": Loss(_carl, doubling=2),
    "distributional_ranking": _ranking(_dr)._replace(doubling=1),
    "distributional_ranking, of images": _ranking(_dr, per_image=True)._replace(
        doubling=1
    ),
    "focal": Loss(
        lambda b: losses.focal(b.targets, b.logits), knows_padding=False, doubling=2
    ),
    "ghm_c": Loss(_ghm_c, doubling=1),
    "ghm_r": Loss(_ghm_r, doubling=1),
    "guided": Loss(_guided, doubling=2),
    "isr_positive_weights": Loss(_isr),
    "l1": _boxes(losses.l1),
    "product_logits": Loss(
        lambda b: losses.product_logits(b.objectness, b.logits),
        knows_padding=False,
        doubling=2,
        nonnegative=False,
    ),
    "residual_objectness": Loss(_residual_objectness, doubling=2),
    "smooth_l1": _boxes(losses.smooth_l1),
}


class Pool(NamedTuple):
    """Candidates of which a sampler draws; what is no candidate is junk.

    Attributes:
        candidates: `bool` [B, A].
        iou: [B, A], in [0, `UPPER`) for candidates.
        instances: `int32` [B, A].
        values: [B, A], >= 0.
        scores: [B, A], in [0, 1].
        boxes: [B, A, 4].
    """

    candidates: tf.Tensor
    iou: tf.Tensor
    instances: tf.Tensor
    values: tf.Tensor
    scores: tf.Tensor
    boxes: tf.Tensor


UPPER, NUM_BINS = 0.5, 3


def pool(shape: tuple[int, int], share: float, seed: int) -> Pool:
    """Random candidates, `share` of all; some values, scores and boxes are extreme."""
    rng = np.random.default_rng(seed)
    candidates = rng.random(shape) < share
    corners = rng.uniform(-20, 60, (*shape, 2))
    sides = rng.choice([0.0, 1.0, 30.0, 1e30, -5.0], (*shape, 2))
    floats = {
        "iou": UPPER * rng.random(shape) ** 2,
        "values": rng.choice([0.0, 0.1, 1.0, 1e30], shape) * rng.random(shape),
        "scores": rng.choice([0.0, 1e-30, 0.3, 1.0], shape) * rng.random(shape),
        "boxes": np.concatenate([corners, corners + sides], axis=-1),
    }
    return Pool(
        candidates=tf.constant(candidates),
        instances=tf.constant(rng.choice(4, shape, p=(0.6, 0.2, 0.1, 0.1)), tf.int32),
        **{name: tf.constant(x, tf.float32) for name, x in floats.items()},
    )


def spoiled(drawn_from: Pool, junk: float) -> Pool:
    """The pool with `junk` for every number of what is no candidate."""
    kept = drawn_from.candidates
    return drawn_from._replace(
        instances=tf.where(kept, drawn_from.instances, -1),
        boxes=tf.where(kept[..., tf.newaxis], drawn_from.boxes, junk),
        **{
            name: tf.where(kept, getattr(drawn_from, name), junk)
            for name in ("iou", "values", "scores")
        },
    )


# Each gives the mask [B, A] of what is drawn of a pool, `n` for each image.
DRAWS: dict[str, Callable[[Pool, int, tf.Tensor], tf.Tensor]] = {
    "hardest": lambda p, n, seed: sampling.hardest(p.values, p.candidates, n),
    "instance_balanced": lambda p, n, seed: sampling.instance_balanced(
        p.instances, p.candidates, n, seed=seed
    ),
    "iou_balanced": lambda p, n, seed: sampling.iou_balanced(
        p.iou, p.candidates, n, upper=UPPER, num_bins=NUM_BINS, seed=seed
    ),
    "iou_balanced_published": lambda p, n, seed: sampling.iou_balanced_published(
        p.iou,
        p.candidates,
        n,
        max_iou=tf.fill(tf.shape(p.iou)[:1], UPPER),
        num_bins=NUM_BINS,
        seed=seed,
    ),
    "isr_negative_sample": lambda p, n, seed: score_ranked.isr_negative_sample(
        p.scores, p.boxes, p.candidates, n, p.values, seed=seed
    )[0],
    "uniform": lambda p, n, seed: sampling.uniform(p.candidates, n, seed=seed),
}

ANCHOR_QUOTA = {"num_samples": 6, "foreground_fraction": 0.5}
Levels = dict[str, tf.Tensor]
# Each gives the labels of anchors after the draw.
ANCHOR_DRAWS: dict[str, Callable[[Levels, Levels, tf.Tensor, tf.Tensor], Levels]] = {
    "draw_anchors": lambda labels, anchors, gt, seed: anchor_sampler.draw_anchors(
        labels, **ANCHOR_QUOTA, seed=seed
    ),
    "limit_negatives": lambda labels, anchors, gt, seed: anchor_sampler.limit_negatives(
        labels, 2.0, seed=seed
    ),
    "sample_anchors": lambda labels, anchors, gt, seed: anchor_sampler.sample_anchors(
        labels, anchors, gt, **ANCHOR_QUOTA, seed=seed
    ),
}


def kept_anchors(
    name: str, positives: np.ndarray, negatives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many positives and negatives [B] a draw of anchors leaves of so many."""
    if name == "limit_negatives":
        return positives, np.minimum(negatives, 2 * np.maximum(positives, 1))
    samples, share = ANCHOR_QUOTA.values()
    positives = np.minimum(positives, int(samples * share))
    return positives, np.minimum(negatives, samples - positives)


# Tested with every `SamplingRule` that can be made.
ROI_SAMPLERS = ("RoISampler", "select_rois")
SAMPLERS = {*DRAWS, *ANCHOR_DRAWS, *ROI_SAMPLERS}


class Layer(NamedTuple):
    """How a layer is made and called.

    Attributes:
        make: the layer, with the global policy.
        inputs: features [B, H, W, C] of a size of the finest level and B images: one
            tensor, or a dict of levels, or a list.
        reaches: whether an output level depends on an input level.
        keeps_shape: whether outputs have the shapes of the inputs.
    """

    make: Callable[[], tf_keras.layers.Layer]
    inputs: Callable[[tuple[int, int], int, np.random.Generator], object]
    reaches: Callable[[int, int], bool] = lambda output, given: True
    keeps_shape: bool = True


CHANNELS = 4
BACKBONE = {"3": 2, "4": 3, "5": 5}  # channels of its levels


def _map(
    size: tuple[int, int],
    images: int,
    rng: np.random.Generator,
    channels: int = CHANNELS,
) -> tf.Tensor:
    return tf.constant(rng.normal(0, 1, (images, *size, channels)), tf.float32)


def _image(size: tuple[int, int], images: int, rng: np.random.Generator) -> tf.Tensor:
    return _map(size, images, rng, channels=3)


def _halved(
    size: tuple[int, int], images: int, rng: np.random.Generator
) -> dict[str, tf.Tensor]:
    """Levels 3 to 6, each half the one before, rounded up."""
    features = {}
    for level in "3456":
        features[level] = _map(size, images, rng)
        size = -(-size[0] // 2), -(-size[1] // 2)
    return features


def _backbone(
    size: tuple[int, int], images: int, rng: np.random.Generator
) -> dict[str, tf.Tensor]:
    """Levels with channels of their own; the sizes need not be halves."""
    features = {}
    for level, channels in BACKBONE.items():
        features[level] = _map(size, images, rng, channels)
        size = -(-size[0] // 3), -(-size[1] // 2)
    return features


def _two_maps(
    size: tuple[int, int], images: int, rng: np.random.Generator
) -> list[tf.Tensor]:
    coarse = -(-size[0] // 2), -(-size[1] // 3)
    return [_map(coarse, images, rng), _map(size, images, rng)]


def _torch_fpn(extra_levels: str) -> TorchFPN:
    specs = {k: tf.TensorShape([None, None, None, c]) for k, c in BACKBONE.items()}
    return TorchFPN(
        specs,
        min_level=3,
        max_level=7,
        num_filters=CHANNELS,
        # (Without ReLU before them: of four channels all may be off.)
        extra_levels=extra_levels,
    )


LAYERS = {
    **{
        f"BalancedFeaturePyramid, {refine}": Layer(
            lambda refine=refine: layers.BalancedFeaturePyramid(
                refine, conv_out_initializer="glorot_uniform", seed=1
            ),
            _halved,
        )
        for refine in (None, "conv", "non_local")
    },
    **{
        f"GroupedConv2D, {groups}": Layer(
            lambda groups=groups: GroupedConv2D(
                CHANNELS, 3, padding="same", groups=groups
            ),
            _map,
        )
        for groups in (1, 2)
    },
    "NearestLike": Layer(
        lambda: NearestLike(),
        _two_maps,
        reaches=lambda output, given: given == 0,
        keeps_shape=False,
    ),
    "NonLocalBlock": Layer(
        lambda: layers.NonLocalBlock(conv_out_initializer="glorot_uniform", seed=1),
        _map,
    ),
    "PathAggregation": Layer(
        lambda: layers.PathAggregation(seed=1),
        _halved,
        reaches=lambda output, given: output >= given,
    ),
    **{
        f"ResidualObjectness, {kernel}": Layer(
            lambda kernel=kernel: layers.ResidualObjectness(
                3, num_anchors=2, kernel_size=kernel, seed=1
            ),
            _map,
            keeps_shape=False,
        )
        for kernel in (3, None)
    },
    **{
        f"TorchFPN, {extra}": Layer(
            lambda extra=extra: _torch_fpn(extra),
            _backbone,
            # The extra levels know the last one of the backbone.
            reaches=lambda output, given: given >= min(output, 5),
            keeps_shape=False,
        )
        for extra in EXTRA_LEVELS
    },
    "TorchResNet": Layer(
        lambda: TorchResNet(50, base_channels=4), _image, keeps_shape=False
    ),
}
