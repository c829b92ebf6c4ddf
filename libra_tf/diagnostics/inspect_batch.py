"""What one batch shows of the three imbalances, as a training step sees it.

One piece of code for TensorBoard's page, drawn while a detector trains, and for
`libra measure`. Every number is a sum or a histogram, which adds up over batches and
replicas; `figures` turns the sums into what people read.

The detector computes in inference mode: statistics of BatchNorm are read and not
changed, and what samplers and losses keep from step to step stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from libra_tf.criteria.dense_batch import dense_batch
from libra_tf.criteria.dense_ghm import class_gradient_counts
from libra_tf.criteria.head_losses import Losses
from libra_tf.diagnostics import forward, negatives
from libra_tf.diagnostics.class_gradients import example_gradient_sums, squared_norm
from libra_tf.diagnostics.gradients import gradient_sums
from libra_tf.diagnostics.head_examples import (
    anchor_examples,
    roi_examples,
    rpn_examples,
)
from libra_tf.diagnostics.levels import is_pyramid, level_sums, visible_size
from libra_tf.diagnostics.objective import BoxLosses
from libra_tf.models.maskrcnn import roi_targets
from libra_tf.ops.per_class import deltas_of_class
from libra_tf.samplers import RoISampler

Sums = dict[str, Any]


class Inspected(NamedTuple):
    """What a batch shows.

    Attributes:
        sums: nested `float32` numbers by name.
        outputs: of the detector.
        pyramids: before and after the neck.
    """

    sums: Sums
    outputs: Mapping[str, Any]
    pyramids: forward.Pyramids


def inspect_batch(
    model: tf_keras.Model,
    task: Any,
    losses: BoxLosses,
    images: tf.Tensor,
    labels: Mapping[str, Any],
    seed: tf.Tensor,
) -> Inspected:
    """Looks at a batch; to be called in a replica, within a `tf.function`.

    Of a cascade it shows the first head. Model Garden's own RoI sampler is shown by the
    random rule with its thresholds, which takes no padding for background.

    Args:
        model: the detector.
        task: of this package.
        losses: of which `own` is shown.
        images: [B, H, W, 3], normalised.
        labels: of the training pipeline.
        seed: integer tensor [2], of the RoI sampler.
    """
    look = _look_at_proposals if model.is_two_stage else _look_at_anchors
    return look(model, task, losses, images, labels, seed)


def _look_at_proposals(
    model: tf_keras.Model,
    task: Any,
    losses: BoxLosses,
    images: tf.Tensor,
    labels: Mapping[str, Any],
    seed: tf.Tensor,
) -> Inspected:
    config = task.task_config
    drawn = config.model.roi_sampler
    sampler = RoISampler(drawn.rule, mix_gt_boxes=drawn.mix_gt_boxes)
    with tf.GradientTape(persistent=True) as tape:
        outputs, pyramids = forward.run_detector(model, images)
        features = outputs["decoder_features"]
        with tape.stop_recording():
            proposals = forward.candidates(model, outputs, labels, mix_gt_boxes=False)
            selection = sampler.select(
                proposals,
                labels["gt_boxes"],
                seed,
                gt_classes=labels["gt_classes"],
                miner=lambda boxes: model.score_candidates(features, boxes),
            )
            sampled = sampler.gather(
                selection, labels["gt_boxes"], labels["gt_classes"]
            )
        logits, deltas = model.roi_head_outputs(features, sampled.rois)
        trained = {
            **_floats({k: outputs[k] for k in ("rpn_scores", "rpn_boxes")}),
            **_heads(logits, deltas, roi_targets(sampled), drawn),
        }
        weighted = task.weighted_losses(trained, labels)
        class_loss, box_loss = _totals(weighted)
    sources = {"rpn": outputs["rpn_scores"], "roi": logits, "features": features}
    class_gradients = _gradient(tape, class_loss, sources)
    box_gradients = _gradient(tape, box_loss, {"features": features})
    classes = sampled.gt_classes
    errors = deltas_of_class(deltas, classes) - trained["box_targets"]
    sums = {
        **_common(images, labels, pyramids),
        "losses": _objective(class_loss, box_loss, class_gradients, box_gradients),
        "rpn": {
            **rpn_examples(labels),
            "gradient": example_gradient_sums(list(class_gradients["rpn"].values()), 1),
        },
        "roi": {
            **roi_examples(selection, labels, config.model.num_classes, list(features)),
            "gradient": example_gradient_sums(
                [class_gradients["roi"]], logits.shape[-1]
            ),
        },
        "negatives": {
            "available": negatives.count_by_iou(selection.iou, selection.negative),
            "chosen": negatives.count_by_iou(selection.iou, selection.chosen_negative),
        },
        **_box(errors, classes > 0, losses),
    }
    return Inspected(_floats(sums), outputs, pyramids)


def _look_at_anchors(
    model: tf_keras.Model,
    task: Any,
    losses: BoxLosses,
    images: tf.Tensor,
    labels: Mapping[str, Any],
    seed: tf.Tensor,
) -> Inspected:
    del seed  # nothing is drawn
    config = task.task_config
    with tf.GradientTape(persistent=True) as tape:
        outputs, pyramids = forward.run_detector(model, images)
        features = pyramids.before if pyramids.after is None else pyramids.after
        trained = _floats({k: outputs[k] for k in ("cls_outputs", "box_outputs")})
        class_loss, box_loss = _totals(task.weighted_losses(trained, labels))
    sources = {"logits": outputs["cls_outputs"], "features": features}
    class_gradients = _gradient(tape, class_loss, sources)
    box_gradients = _gradient(tape, box_loss, {"features": features})
    dense = dense_batch(
        trained,
        labels,
        config.model.num_classes,
        config.model.detection_generator.box_coder_weights,
    )
    errors, positive = forward.anchor_errors(outputs, labels)
    sums = {
        **_common(images, labels, pyramids),
        "losses": _objective(class_loss, box_loss, class_gradients, box_gradients),
        "anchors": {
            **anchor_examples(dense, labels),
            "gradient": example_gradient_sums(
                list(class_gradients["logits"].values()), config.model.num_classes
            ),
        },
        **_box(errors, positive, losses),
    }
    classification = config.losses.classification
    if classification.type == "ghm_c":
        sums["ghm"] = class_gradient_counts(dense, classification.ghm)
    return Inspected(_floats(sums), outputs, pyramids)


def _heads(
    logits: tf.Tensor, deltas: tf.Tensor, targets: Mapping[str, tf.Tensor], config: Any
) -> dict[str, tf.Tensor]:
    """What the losses of the R-CNN head read; a cascade's are means over its heads."""
    first = {"class_outputs": logits, "box_outputs": deltas, **targets}
    later = range(1, 1 + len(config.cascade_iou_thresholds or ()))
    names = ("class_outputs", "box_outputs", "class_targets", "box_targets")
    return first | {f"{name}_{i}": first[name] for i in later for name in names}


def _common(
    images: tf.Tensor, labels: Mapping[str, Any], pyramids: forward.Pyramids
) -> Sums:
    size = visible_size(labels["image_info"])
    return {
        "images": tf.shape(images)[0],
        "feature": {
            name: level_sums(features, size, images.shape[1:3])
            for name, features in pyramids._asdict().items()
            if features is not None and is_pyramid(features)
        },
    }


def _objective(
    class_loss: tf.Tensor, box_loss: tf.Tensor, of_class: Any, of_box: Any
) -> Sums:
    return {
        "class": class_loss,
        "box": box_loss,
        "class_gradient": squared_norm(list(of_class["features"].values())),
        "box_gradient": squared_norm(list(of_box["features"].values())),
    }


def _box(errors: tf.Tensor, positive: tf.Tensor, losses: BoxLosses) -> Sums:
    if losses.own is None:
        return {}
    own = losses.losses[losses.own]
    return {"box": gradient_sums(errors, positive, own, threshold=losses.threshold)}


def _totals(weighted: Mapping[str, Losses]) -> tuple[tf.Tensor, tf.Tensor]:
    """Class loss and box loss of all heads together."""
    heads = list(weighted.values())
    return tf.add_n([x.classification for x in heads]), tf.add_n([x.box for x in heads])


def _gradient(tape: tf.GradientTape, loss: tf.Tensor, sources: Any) -> Any:
    none = tf.UnconnectedGradients.ZERO
    return tape.gradient(loss, sources, unconnected_gradients=none)


def _floats(tensors: Any) -> Any:
    return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), tensors)
