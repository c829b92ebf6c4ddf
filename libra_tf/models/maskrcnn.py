"""Faster and Mask R-CNN: Model Garden's model with our parts swapped in."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling import factory, maskrcnn_model
from official.vision.ops import box_ops

from libra_tf.experiments import model_config, sampler_config
from libra_tf.models.anchors import own_anchors
from libra_tf.models.backbone import freeze_stages
from libra_tf.models.clipped_detections import ClippedDetectionGenerator
from libra_tf.models.heads import (
    create_roi_heads,
    roi_shape,
    use_residual_objectness,
)
from libra_tf.models.neck import add_neck, checkpoint_parts
from libra_tf.models.reference_parts import reference_rcnn_parts
from libra_tf.models.reference_proposals import ROIGenerator
from libra_tf.ops.boxes import ROI_DELTA_WEIGHTS, decode_deltas
from libra_tf.ops.per_class import deltas_of_class
from libra_tf.samplers import MinedRoIs, RoISampler
from libra_tf.samplers.mining import best_foreground
from libra_tf.samplers.roi_sampler import SampledRoIs


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class LibraMaskRCNN(maskrcnn_model.MaskRCNNModel):
    """Model Garden's R-CNN that also returns the proposals of the RPN in evaluation.

    Beside the outputs of `MaskRCNNModel`, `call(training=False)` returns
    `proposals`: [B, P, 4] boxes in pixels of the input, best first, zero padded.
    With a `RoISampler`, `call(training=True)` returns `matched_gt_indices` [B, K] and
    `class_weights` [B, K], see `SampledRoIs`.

    Args:
        *args: of Model Garden's model.
        anchor_form: see `RPNAnchor`.
        **kwargs: of Model Garden's model.
    """

    is_two_stage = True

    def __init__(
        self, *args: object, anchor_form: str = "model_garden", **kwargs: object
    ):
        super().__init__(*args, **kwargs)
        self._config_dict["anchor_form"] = anchor_form

    def _call_box_outputs(
        self, images: tf.Tensor, *args: object, **kwargs: object
    ) -> tuple:
        if kwargs.get("anchor_boxes") is None:
            kwargs["anchor_boxes"] = own_anchors(images, self._config_dict)
        return super()._call_box_outputs(images, *args, **kwargs)

    def _run_frcnn_head(self, **kwargs: Any) -> tuple:
        if not kwargs["training"] and kwargs["cascade_num"] == 0:
            kwargs["model_outputs"]["proposals"] = kwargs["rois"]
        ours = isinstance(self.roi_sampler[kwargs["cascade_num"]], RoISampler)
        samples = kwargs["training"] and kwargs["gt_boxes"] is not None
        if ours and samples and self.outer_boxes_scale == 1.0:
            return self._run_sampled_head(**kwargs)
        return super()._run_frcnn_head(**kwargs)

    def _run_sampled_head(self, **kwargs: Any) -> tuple:
        """Chooses RoIs; scores all candidates first if the sampler ranks them."""
        stage, weights = kwargs["cascade_num"], kwargs["regression_weights"]
        sampled = self.roi_sampler[stage].sample(
            tf.stop_gradient(kwargs["rois"]),
            kwargs["gt_boxes"],
            kwargs["gt_classes"],
            miner=functools.partial(
                self.score_candidates,
                kwargs["features"],
                stage=stage,
                regression_weights=weights,
            ),
        )
        # Without ground truth to sample from, the base class takes the RoIs as given.
        kwargs |= {"rois": sampled.rois, "gt_boxes": None, "gt_classes": None}
        kwargs["model_outputs"] |= roi_targets(sampled, weights)
        classes, boxes, outputs, *_, rois = super()._run_frcnn_head(**kwargs)
        matched = sampled.gt_boxes, sampled.gt_classes, sampled.gt_indices
        return classes, boxes, outputs, *matched, rois

    def score_candidates(
        self,
        features: Mapping[str, tf.Tensor],
        candidates: tf.Tensor,
        *,
        stage: int = 0,
        regression_weights: Sequence[float] = ROI_DELTA_WEIGHTS,
    ) -> MinedRoIs:
        """Runs the head over candidates in inference mode and without gradient.

        Moving statistics of normalisation layers are used, not updated.

        Args:
            features: {level: [B, H, W, channels]}, of the decoder.
            candidates: [B, N, 4], boxes with an area, in pixels of the input.
            stage: which head of a cascade.
            regression_weights: of the head's deltas.

        Returns:
            `MinedRoIs`.
        """
        candidates = tf.stop_gradient(candidates)
        logits, deltas = self.run_roi_head(features, candidates, stage=stage)
        best = deltas_of_class(deltas, best_foreground(logits)[0])
        boxes = decode_deltas(best, candidates, weights=regression_weights)
        return MinedRoIs(logits, boxes)

    def run_roi_head(
        self, features: Mapping[str, tf.Tensor], boxes: tf.Tensor, *, stage: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns a head's class logits and deltas of boxes; see `score_candidates`.

        Args:
            features: {level: [B, H, W, channels]}, of the decoder.
            boxes: [B, N, 4], with an area, in pixels of the input.
            stage: which head of a cascade.

        Returns:
            `float32` [B, N, C] and [B, N, 4C], without gradient.
        """
        logits, deltas = self.roi_head_outputs(features, boxes, stage=stage)
        return tf.stop_gradient(logits), tf.stop_gradient(deltas)

    def roi_head_outputs(
        self, features: Mapping[str, tf.Tensor], boxes: tf.Tensor, *, stage: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `run_roi_head`, with gradient."""
        roi_features = self.roi_aligner(features, boxes)
        logits, deltas = self.detection_head[stage](roi_features, training=False)
        return tf.cast(logits, tf.float32), tf.cast(deltas, tf.float32)

    def _features_to_mask_outputs(self, features, rois, roi_classes):
        # Rows that no candidate filled have class -1, which cannot be gathered; they
        # get no loss, so the background's mask serves.
        roi_classes = tf.maximum(roi_classes, 0)
        return super()._features_to_mask_outputs(features, rois, roi_classes)

    @property
    def checkpoint_items(self) -> dict[str, tf_keras.layers.Layer]:
        """Parts by name, see `checkpoint_parts`."""
        return checkpoint_parts(super().checkpoint_items)


def roi_targets(
    sampled: SampledRoIs, regression_weights: Sequence[float] = ROI_DELTA_WEIGHTS
) -> dict[str, tf.Tensor]:
    """What the losses of the R-CNN head are computed from, beside its outputs.

    Args:
        sampled: the chosen regions.
        regression_weights: of the head's deltas.
    """
    targets = box_ops.encode_boxes(
        sampled.gt_boxes, sampled.rois, weights=regression_weights
    )
    positive = (sampled.gt_classes > 0)[..., tf.newaxis]
    return {
        "class_targets": sampled.gt_classes,
        "box_targets": tf.where(positive, targets, tf.zeros_like(targets)),
        "matched_gt_indices": sampled.gt_indices,
        "class_weights": sampled.class_weights,
    }


def build_roi_sampler(
    config: sampler_config.ROISampler,
) -> tf_keras.layers.Layer | None:
    """Returns our sampler, or None where Model Garden's own is asked for."""
    if config.is_stock:
        return None
    sampler = RoISampler(
        config.rule,
        mix_gt_boxes=config.mix_gt_boxes,
        seed=config.seed,
        name="roi_sampler",
    )
    # Its count of calls must be there when a checkpoint is restored.
    sampler.build(None)
    return sampler


def build_maskrcnn(
    input_specs: tf_keras.layers.InputSpec,
    config: model_config.MaskRCNN,
    l2_regularizer: tf_keras.regularizers.Regularizer | None = None,
    seed: int | None = None,
) -> LibraMaskRCNN:
    """Builds Model Garden's detector and swaps the parts that `config` names.

    With every switch off the layers, and so the weights and outputs, are Model
    Garden's. Parts of ours are created after its own and do not draw from the global
    random stream, so that the same seed gives those the same initial weights either
    way.

    Args:
        input_specs: [batch or None, height, width, 3].
        config: the `model` settings of a task.
        l2_regularizer: weight decay of all kernels.
        seed: of the initial weights of our parts; None draws from the global stream.

    Returns:
        The model, not yet called.
    """
    base = factory.build_maskrcnn(
        input_specs=input_specs, model_config=config, l2_regularizer=l2_regularizer
    )
    create_roi_heads(base)
    parts = dict(base.get_config())
    parts["roi_generator"] = ROIGenerator(
        **base.roi_generator.get_config(), drops_empty=config.clip_to_image
    )
    if config.clip_to_image:
        settings = base.detection_generator.get_config()
        parts["detection_generator"] = ClippedDetectionGenerator(**settings)
    parts |= reference_rcnn_parts(base, config)
    parts["decoder"] = add_neck(base.decoder, config.neck, l2_regularizer, seed)
    if config.objectness.is_residual:
        shape = roi_shape(base, base.roi_aligner)
        heads = tf.nest.flatten(parts["detection_head"])
        parts["detection_head"] = [
            use_residual_objectness(head, shape, seed=seed) for head in heads
        ]
    sampler = build_roi_sampler(config.roi_sampler)
    if sampler is not None:
        parts["roi_sampler"] = sampler
    freeze_stages(base.backbone, config.frozen_stages)
    return LibraMaskRCNN.from_config(parts)
