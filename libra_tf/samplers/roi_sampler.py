"""The layer that chooses the regions on which the second stage is trained.

Shape shorthand in this module:
    B: images in the batch.
    N: candidate boxes per image (proposals, then the ground truth if mixed in).
    M: ground-truth boxes per image, padded with -1.
    K: regions chosen per image, `num_sampled_rois`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from libra_tf.samplers.matching import has_area, pad_rows, repeat_real_rows
from libra_tf.samplers.mining import Miner
from libra_tf.samplers.rule import SamplingRule
from libra_tf.samplers.selection import RoISelection, select_rois

_FILL_CLASS = -1
_FILL_ROI = (0.0, 0.0, 1.0, 1.0)


class SampledRoIs(NamedTuple):
    """The chosen regions and their targets, see `RoISampler`.

    Attributes:
        rois: [B, K, 4].
        gt_boxes: [B, K, 4].
        gt_outer_boxes: [B, K, 4], or None if none were given.
        gt_classes: [B, K], 0 background, -1 fill.
        gt_indices: `int32` [B, K], -1 for background and fill.
        class_weights: `float32` [B, K], of the class loss; 1 unless the sampler ranks.
    """

    rois: tf.Tensor
    gt_boxes: tf.Tensor
    gt_outer_boxes: tf.Tensor | None
    gt_classes: tf.Tensor
    gt_indices: tf.Tensor
    class_weights: tf.Tensor


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class RoISampler(tf_keras.layers.Layer):
    """Chooses regions and their targets; takes the place of Model Garden's sampler.

    See `select_rois` for the choice. The call has the signature and the results of
    `official.vision.modeling.layers.ROISampler`, with these differences:

    - Padding (-1) and boxes without area are never candidates, nor is a box between
      the two thresholds. In an image without ground truth every valid box is
      background.
    - If candidates are short, the remaining rows are fill: roi and matched box
      [0, 0, 1, 1], class -1, index -1. They must get no loss. (Model Garden fills with
      boxes that are no candidates and labels them.) There may be fewer proposals than
      `num_sampled_rois`.
    - Order: positives, negatives, fill, each in order of the candidates.
    - The draw is stateless. Its seed is `seed`, the number of earlier calls (the
      weight `num_calls`, so that a run resumed from a checkpoint draws as the
      uninterrupted one) and the replica.
    - Where nothing is drawn (`skip_subsampling`, or positives and negatives "all"), a
      box that is neither positive nor negative has class -1, index -1 and itself
      as matched box. With "all", a row that would be padding or a box without area
      repeats a box of its image: a head with BatchNorm then has statistics of the
      image's boxes alone.

    Args:
        rule: how to choose; None is `SamplingRule()`.
        mix_gt_boxes: append the ground truth to the proposals.
        skip_subsampling: label all boxes, draw none (later stages of a cascade).
        seed: start of the random draws.
        **kwargs: of the Keras layer.
    """

    def __init__(
        self,
        rule: SamplingRule | None = None,
        *,
        mix_gt_boxes: bool = True,
        skip_subsampling: bool = False,
        seed: int = 0,
        **kwargs: object,
    ):
        # Without autocast: bfloat16 keeps 8 bits, 4 pixels at coordinate 1000.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        self.rule = rule or SamplingRule()
        self.mix_gt_boxes = mix_gt_boxes
        self.skip_subsampling = skip_subsampling
        self.seed = seed

    @property
    def num_sampled_rois(self) -> int:
        """K."""
        return self.rule.num_sampled_rois

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the count of calls."""
        self.num_calls = self.add_weight(
            name="num_calls",
            shape=[],
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            # Each replica counts its own calls: no merging of replicas in a step.
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(
        self,
        boxes: tf.Tensor,
        gt_boxes: tf.Tensor,
        gt_classes: tf.Tensor,
        gt_outer_boxes: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, ...]:
        """Chooses K regions per image and gathers their targets.

        Args:
            boxes: [B, N, 4], proposals, yxyx in pixels.
            gt_boxes: [B, M, 4], yxyx in pixels, padded with -1.
            gt_classes: [B, M], classes from 1, padded with -1.
            gt_outer_boxes: [B, M, 4], optional.

        Returns:
            rois [B, K, 4], matched ground-truth boxes [B, K, 4], matched outer boxes
            [B, K, 4] (only if given), classes [B, K] and ground-truth indices [B, K].
            Background has zeros, class 0 and index -1, fill see the class. Where
            nothing is drawn, all N (or N + M) boxes in place of K.
        """
        sampled = self.sample(boxes, gt_boxes, gt_classes, gt_outer_boxes)
        return tuple(part for part in sampled[:-1] if part is not None)

    def sample(
        self,
        boxes: tf.Tensor,
        gt_boxes: tf.Tensor,
        gt_classes: tf.Tensor,
        gt_outer_boxes: tf.Tensor | None = None,
        *,
        miner: Miner | None = None,
    ) -> SampledRoIs:
        """As `call`, with the weights of the class loss.

        Args:
            boxes: see `call`.
            gt_boxes: see `call`.
            gt_classes: see `call`.
            gt_outer_boxes: see `call`.
            miner: gives the head's answer for the candidates; needed by the rules in
                `rule.MINED`.

        Raises:
            ValueError: the rule needs a miner and there is none.
        """
        if not self.built:  # not by `__call__`, which builds
            self.build(boxes.shape)
        seed = self._next_seed()
        selection = self.select(
            boxes, gt_boxes, seed, gt_classes=gt_classes, miner=miner
        )
        return self.gather(selection, gt_boxes, gt_classes, gt_outer_boxes)

    def gather(
        self,
        selection: RoISelection,
        gt_boxes: tf.Tensor,
        gt_classes: tf.Tensor,
        gt_outer_boxes: tf.Tensor | None = None,
    ) -> SampledRoIs:
        """The chosen regions of a `select` and their targets; see `call`."""
        rois, matched = selection.boxes, selection.matched_gt_indices
        weights = selection.weights
        if self._keeps_all:
            positive, negative = selection.positive, selection.negative
            if not self.skip_subsampling:
                rois = repeat_real_rows(rois)
            fill = rois
        else:
            positive, negative, rois, matched, weights = _first_rows(
                selection, self.num_sampled_rois
            )
            fill = tf.constant(_FILL_ROI, rois.dtype)
            rois = tf.where((positive | negative)[..., tf.newaxis], rois, fill)

        def targets(source: tf.Tensor, fill: tf.Tensor | int) -> tf.Tensor:
            return _assign(source, matched, positive, negative, fill)

        outer = gt_outer_boxes
        return SampledRoIs(
            rois=rois,
            gt_boxes=targets(tf.cast(gt_boxes, rois.dtype), fill),
            gt_outer_boxes=None
            if outer is None
            else targets(tf.cast(outer, rois.dtype), fill),
            gt_classes=targets(gt_classes, _FILL_CLASS),
            gt_indices=tf.where(positive, matched, -1),
            class_weights=weights,
        )

    def select(
        self,
        boxes: tf.Tensor,
        gt_boxes: tf.Tensor,
        seed: tf.Tensor,
        *,
        gt_classes: tf.Tensor | None = None,
        miner: Miner | None = None,
    ) -> RoISelection:
        """The selection that `call` makes with this seed, without counting a call.

        Args:
            boxes: [B, N, 4], proposals, before the ground truth is mixed in.
            gt_boxes: [B, M, 4].
            seed: integer tensor [2].
            gt_classes: [B, M]; needed with `miner`.
            miner: see `sample`.

        Returns:
            A `RoISelection` over the proposals, the ground truth if `mix_gt_boxes`, and
            padding up to `num_sampled_rois` (none where nothing is drawn).
        """
        if self.mix_gt_boxes:
            boxes = tf.concat([boxes, tf.cast(gt_boxes, boxes.dtype)], axis=1)
        if not self._keeps_all:
            boxes = pad_rows(boxes, self.num_sampled_rois)
        mined = None
        if self.rule.is_mined and miner is not None:
            # The head cannot look at padding.
            fill = tf.constant(_FILL_ROI, boxes.dtype)
            mined = miner(tf.where(has_area(boxes)[..., tf.newaxis], boxes, fill))
        return select_rois(
            boxes,
            gt_boxes,
            rule=self.rule,
            gt_classes=gt_classes,
            mined=mined,
            seed=seed,
        )

    @property
    def _keeps_all(self) -> bool:
        return self.skip_subsampling or self.rule.draws_nothing

    def get_config(self) -> dict:
        """Returns the arguments, the rule as a dictionary."""
        return {
            **super().get_config(),
            "rule": dataclasses.asdict(self.rule),
            "mix_gt_boxes": self.mix_gt_boxes,
            "skip_subsampling": self.skip_subsampling,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict) -> RoISampler:
        """The inverse of `get_config`."""
        return cls(**{**config, "rule": SamplingRule(**config["rule"])})

    def _next_seed(self) -> tf.Tensor:
        """A seed of its own for each call and replica; counts the call."""
        count = tf.identity(self.num_calls)
        self.num_calls.assign_add(1)
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        return tf.random.experimental.stateless_fold_in(
            tf.stack([tf.constant(self.seed, tf.int64), count]),
            tf.cast(replica, tf.int64),
            alg="philox",
        )


def _first_rows(selection: RoISelection, count: int) -> list[tf.Tensor]:
    """Positive, negative, boxes, matches and weights of `count` rows.

    The chosen come first.
    """
    positive, negative = selection.chosen_positive, selection.chosen_negative
    tier = tf.where(positive, 0, tf.where(negative, 1, 2))
    rows = tf.argsort(tier, stable=True)[:, :count]
    rows = tf.ensure_shape(rows, [None, count])
    columns = (
        positive,
        negative,
        selection.boxes,
        selection.matched_gt_indices,
        selection.weights,
    )
    return [tf.gather(column, rows, batch_dims=1) for column in columns]


def _assign(
    source: tf.Tensor,
    matched: tf.Tensor,
    positive: tf.Tensor,
    negative: tf.Tensor,
    fill: tf.Tensor | int,
) -> tf.Tensor:
    """The matched row of `source` for positives, 0 for negatives, else `fill`."""
    values = tf.gather(pad_rows(source, 1), matched, batch_dims=1)
    if values.shape.rank == 3:
        positive, negative = (
            positive[..., tf.newaxis],
            negative[..., tf.newaxis],
        )
    other = tf.where(negative, tf.zeros_like(values), tf.cast(fill, values.dtype))
    return tf.where(positive, values, other)
