"""Faster and Mask R-CNN: Model Garden's model with our parts swapped in."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling import factory, maskrcnn_model

from libra_tf.experiments import model_config
from libra_tf.models.backbone import freeze_stages
from libra_tf.models.neck import add_neck, checkpoint_parts
from libra_tf.samplers import RoISampler


@tf_keras.utils.register_keras_serializable(package="libra_tf")
class LibraMaskRCNN(maskrcnn_model.MaskRCNNModel):
    """Model Garden's R-CNN that also returns the proposals of the RPN in evaluation.

    Beside the outputs of `MaskRCNNModel`, `call(training=False)` returns
    `proposals`: [B, P, 4] boxes in pixels of the input, best first, zero padded.
    """

    def _run_frcnn_head(self, **kwargs: Any):
        if not kwargs["training"] and kwargs["cascade_num"] == 0:
            kwargs["model_outputs"]["proposals"] = kwargs["rois"]
        return super()._run_frcnn_head(**kwargs)

    def _features_to_mask_outputs(self, features, rois, roi_classes):
        # Rows that no candidate filled have class -1, which cannot be gathered; they
        # get no loss, so the background's mask serves.
        roi_classes = tf.maximum(roi_classes, 0)
        return super()._features_to_mask_outputs(features, rois, roi_classes)

    @property
    def checkpoint_items(self) -> dict[str, tf_keras.layers.Layer]:
        """Parts by name, see `checkpoint_parts`."""
        return checkpoint_parts(super().checkpoint_items)


def build_roi_sampler(
    config: model_config.ROISampler,
) -> tf_keras.layers.Layer | None:
    """Returns our sampler, or None where Model Garden's own is asked for."""
    if config.is_stock:
        return None
    sampler = RoISampler(
        mix_gt_boxes=config.mix_gt_boxes,
        num_sampled_rois=config.num_sampled_rois,
        foreground_fraction=config.foreground_fraction,
        foreground_iou_threshold=config.foreground_iou_threshold,
        background_iou_high_threshold=config.background_iou_high_threshold,
        background_iou_low_threshold=config.background_iou_low_threshold,
        positives=config.positives,
        negatives=config.negatives,
        num_bins=config.num_bins,
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
) -> LibraMaskRCNN:
    """Builds Model Garden's detector and swaps the parts that `config` names.

    With every switch off the layers, and so the weights and outputs, are Model
    Garden's. Parts of ours are created after its own, so that the same seed gives
    those the same initial weights either way.

    Args:
      input_specs: [batch or None, height, width, 3].
      config: the `model` settings of a task.
      l2_regularizer: weight decay of all kernels.

    Returns:
      The model, not yet called.
    """
    base = factory.build_maskrcnn(
        input_specs=input_specs, model_config=config, l2_regularizer=l2_regularizer
    )
    parts = dict(base.get_config())
    parts["decoder"] = add_neck(base.decoder, config.neck, l2_regularizer)
    sampler = build_roi_sampler(config.roi_sampler)
    if sampler is not None:
        parts["roi_sampler"] = sampler
    freeze_stages(base.backbone, config.frozen_stages)
    return LibraMaskRCNN.from_config(parts)
