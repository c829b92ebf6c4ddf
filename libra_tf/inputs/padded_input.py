"""A padded input for each image, as mmdetection evaluates: `canvas.form` "reference".

It has the size of the resized image, padded to multiples of 32, so a batch is one
image, and shapes are known when a step runs only.
"""

from __future__ import annotations

import math

import tensorflow as tf
from official.core.config_definitions import DataConfig
from official.vision.dataloaders import tf_example_decoder, utils
from official.vision.ops import box_ops

from libra_tf.errors import UserError
from libra_tf.experiments.detector_config import MaskRCNNParts, RetinaNetParts
from libra_tf.experiments.reference_config import Canvas
from libra_tf.experiments.task_config import MaskRCNNTask, RetinaNetTask
from libra_tf.inputs.records import read_records
from libra_tf.models.anchors import anchor_settings, multilevel_anchors
from libra_tf.ops.keep_ratio import (
    fit_size,
    normalize_bytes,
    pad_to_multiple,
    resize_bytes,
)


def require_size(model: MaskRCNNParts | RetinaNetParts) -> None:
    """Raises `UserError` unless `input_size` tells the size of training."""
    if model.takes_any_size:
        side = math.ceil(model.canvas.long_side / model.stride) * model.stride
        raise UserError(
            "task.model.input_size is [null, null, 3], which is for evaluation and "
            "inference; training pads all images to one size: give it, such as "
            f"[{side}, {side}, 3]"
        )


def fit_image(images: tf.Tensor, canvas: Canvas) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes, normalises and pads images of one size.

    Args:
        images: uint8 [B, H, W, 3].
        canvas: of form "reference".

    Returns:
        `float32` [B, h, w, 3]; and Model Garden's image_info, `float32` [4, 2], which
        holds for all images: the original size, the resized size, the scale, and zeros.
    """
    original = tf.shape(images)[1:3]
    resized = fit_size(original, canvas.short_side, canvas.long_side)
    images = normalize_bytes(resize_bytes(images, resized))
    original, size = (tf.cast(x, tf.float32) for x in (original, resized))
    info = tf.stack([original, size, size / original, tf.zeros([2])])
    return pad_to_multiple(images, canvas.divisor), info


def build_fitted_inputs(
    task: MaskRCNNTask | RetinaNetTask,
    params: DataConfig,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Returns the evaluation data of a task, one image a batch.

    The labels are those of Model Garden's parsers that detection needs, without the
    targets of a loss: `image_info`, `anchor_boxes` and `groundtruths`.

    Args:
        task: settings of the task.
        params: settings of the evaluation data.
        input_context: of the strategy.

    Raises:
        UserError: a replica gets more than one image.
    """
    replicas = input_context.num_replicas_in_sync if input_context else 1
    if params.global_batch_size != replicas:
        raise UserError(
            f"task.validation_data.global_batch_size is {params.global_batch_size}; "
            f"with task.model.canvas.form reference it must be {replicas}, one image "
            "for each replica"
        )
    decoder = tf_example_decoder.TfExampleDecoder(
        regenerate_source_id=params.decoder.get().regenerate_source_id
    )
    return read_records(
        params,
        decoder.decode,
        lambda data: _parse(data, task.model, params),
        input_context,
    )


def _parse(
    data: dict, model: MaskRCNNParts | RetinaNetParts, params: DataConfig
) -> tuple[tf.Tensor, dict]:
    """One record, as Model Garden's parsers have it."""
    images, info = fit_image(data["image"][tf.newaxis], model.canvas)
    size = tf.unstack(tf.shape(images)[1:3])
    anchors = multilevel_anchors(size, **anchor_settings(model))
    shape = tf.shape(data["image"])[:2]
    groundtruths = {
        "source_id": utils.process_source_id(data["source_id"]),
        "height": data["height"],
        "width": data["width"],
        "num_detections": tf.shape(data["groundtruth_classes"])[0],
        "boxes": box_ops.denormalize_boxes(data["groundtruth_boxes"], shape),
        "classes": data["groundtruth_classes"],
        "areas": data["groundtruth_area"],
        "is_crowds": tf.cast(data["groundtruth_is_crowd"], tf.int32),
    }
    labels = {
        "image_info": info,
        "anchor_boxes": anchors,
        "groundtruths": utils.pad_groundtruths_to_fixed_size(
            groundtruths, params.parser.max_num_instances
        ),
    }
    return tf.cast(images[0], params.dtype), labels
