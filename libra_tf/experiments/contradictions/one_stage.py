"""Contradictions within model and losses of RetinaNet."""

from __future__ import annotations

from libra_tf.experiments.class_loss_config import WEIGHABLE_CLASS_LOSSES
from libra_tf.experiments.contradictions.contradiction import Contradiction

ONE_STAGE = (
    Contradiction(
        "losses of attributes",
        lambda model, losses: bool(model.head.attribute_heads) and not losses.is_stock,
        "task.model.head.attribute_heads: their loss goes with Model Garden's own "
        "losses only: normalizer 'tfm', box.type 'huber', classification.type 'focal' "
        "and of weight 1, without isr, carl and guided",
    ),
    Contradiction(
        "suppression of classes apart",
        lambda model, losses: (
            model.detection_generator.is_reference
            and bool(model.detection_generator.use_class_agnostic_nms)
        ),
        "task.model.detection_generator.form is 'reference', which suppresses class by "
        "class; switch use_class_agnostic_nms off",
    ),
    Contradiction(
        "detections only",
        lambda model, losses: (
            model.detection_generator.is_reference
            and bool(
                model.head.attribute_heads
                or model.detection_generator.return_decoded
                or not model.detection_generator.apply_nms
            )
        ),
        "task.model.detection_generator.form is 'reference', which gives detections "
        "only: no task.model.head.attribute_heads, no return_decoded, and apply_nms",
    ),
    Contradiction(
        "thresholds from data",
        lambda model, losses: model.prior.sets_thresholds and not model.prior.from_data,
        "task.model.prior.score_threshold is {task.model.prior.score_threshold!r}, but "
        "task.model.prior.from_data is false: the thresholds come from the data",
    ),
    Contradiction(
        "one threshold at a time",
        lambda model, losses: (
            model.prior.sets_thresholds
            and model.detection_generator.pre_nms_score_threshold > 0
        ),
        "task.model.prior.score_threshold is {task.model.prior.score_threshold!r}, but "
        "task.model.detection_generator.pre_nms_score_threshold is "
        "{task.model.detection_generator.pre_nms_score_threshold}, which would act "
        "first: set it to 0",
    ),
    Contradiction(
        "residual objectness",
        lambda model, losses: (
            (losses.classification.type == "residual_objectness")
            != model.objectness.is_residual
        ),
        "task.losses.classification.type is {task.losses.classification.type!r} and "
        "task.model.objectness.type is {task.model.objectness.type!r}: residual "
        "objectness needs both, the head and its loss",
    ),
    Contradiction(
        "prior of residual objectness",
        lambda model, losses: model.objectness.is_residual and model.prior.is_set,
        "task.model.prior sets the bias of the class output; with residual objectness "
        "leave it alone",
    ),
    Contradiction(
        "convolutions of residual objectness",
        lambda model, losses: (
            model.objectness.is_residual and model.head.use_separable_conv
        ),
        "task.model.objectness.type is 'residual', whose convolutions are plain ones; "
        "switch task.model.head.use_separable_conv off",
    ),
    Contradiction(
        "a class loss for ISR",
        lambda model, losses: (
            losses.isr.enabled
            and losses.classification.type not in WEIGHABLE_CLASS_LOSSES
        ),
        "task.losses.isr.enabled is true, but task.losses.classification.type is "
        "{task.losses.classification.type!r}: ISR weighs examples, so the loss must be "
        f"{' or '.join(WEIGHABLE_CLASS_LOSSES)}",
    ),
)
