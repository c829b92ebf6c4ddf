"""Which methods go together: refuses what makes no sense, with the reason."""

from __future__ import annotations

from typing import Any

from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.errors import UserError
from libra_tf.experiments import loss_config, model_config
from libra_tf.experiments.ranges import one_of, positive
from libra_tf.experiments.sampling_rule import sampling_rule

# Class losses that are a sum over examples, which ISR-P can weigh.
_WEIGHABLE = ("focal", "cross_entropy")
_DECODER = "simple_decoder"  # Model Garden's, of which ISR-P has a parser
_RPN_NEGATIVES = ("random", "iou_balanced", "all")


def check_methods(task: Any) -> None:
    """Raises `UserError` for the first contradiction among the methods of a task."""
    one_stage = isinstance(task, tfm_retinanet.RetinaNetTask)
    one_of("task.model.objectness.type", task.model.objectness.type,
           model_config.OBJECTNESS)  # fmt: skip
    _check_prior(task, one_stage)
    _check_importance(task.losses)
    for name in ("factor", "roi_factor"):
        positive(f"task.losses.guided.{name}", getattr(task.losses.guided, name))
    if one_stage:
        _check_class_loss(task)
    else:
        _check_two_stage(task)


def _check_prior(task: Any, one_stage: bool) -> None:
    prior, path = task.model.prior, "task.model.prior"
    if prior.value is not None and not 0 < prior.value < 1:
        raise UserError(f"{path}.value is {prior.value}; it must be between 0 and 1")
    if prior.value is not None and prior.from_data:
        raise UserError(
            f"{path}: value is {prior.value} and from_data is true; give one of them"
        )
    if prior.from_data and task.train_data.tfds_name:
        raise UserError(
            f"{path}.from_data is true, but task.train_data.tfds_name is set: it "
            f"counts record files; give task.train_data.input_path, or {path}.value"
        )
    kind = prior.score_threshold
    one_of(f"{path}.score_threshold", kind, model_config.SCORE_THRESHOLDS)
    if kind == "fixed":
        return
    if not one_stage:
        raise UserError(
            f"{path}.score_threshold is {kind!r}; it is for RetinaNet. For the R-CNN "
            "head set task.model.detection_generator.pre_nms_score_threshold"
        )
    if not prior.from_data:
        raise UserError(
            f"{path}.score_threshold is {kind!r}, but {path}.from_data is false: "
            "the thresholds come from the data"
        )
    generator = task.model.detection_generator
    if generator.pre_nms_score_threshold > 0:
        raise UserError(
            f"{path}.score_threshold is {kind!r}, but "
            "task.model.detection_generator.pre_nms_score_threshold is "
            f"{generator.pre_nms_score_threshold}, which would act first: set it to 0"
        )


def _check_importance(losses: Any) -> None:
    for name in ("isr", "carl"):
        settings, path = getattr(losses, name), f"task.losses.{name}"
        positive(f"{path}.k", settings.k)
        positive(f"{path}.bias", settings.bias, zero=True)
        if settings.bias > 1:
            raise UserError(f"{path}.bias is {settings.bias}; it must be at most 1")
    positive("task.losses.carl.weight", losses.carl.weight, zero=True)
    if losses.carl.weight and losses.box.type in ("huber", "ghm_r"):
        raise UserError(
            f"task.losses.carl.weight is {losses.carl.weight}, but "
            f"task.losses.box.type is {losses.box.type!r}: CARL weighs a box loss per "
            "box; choose smooth_l1, l1 or balanced_l1"
        )


def _check_class_loss(task: Any) -> None:
    losses, loss = task.losses, task.losses.classification
    path = "task.losses.classification"
    one_of(f"{path}.type", loss.type, loss_config.CLASS_LOSSES)
    positive(f"{path}.weight", loss.weight)
    for name, ghm in (("classification", loss.ghm), ("box", losses.box.ghm)):
        _check_ghm(f"task.losses.{name}.ghm", ghm)
    _check_ranking(loss)
    if (loss.type == "residual_objectness") != (
        task.model.objectness.type == "residual"
    ):
        raise UserError(
            f"{path}.type is {loss.type!r} and task.model.objectness.type is "
            f"{task.model.objectness.type!r}: residual objectness needs both, the head "
            "and its loss"
        )
    if losses.isr.enabled and loss.type not in _WEIGHABLE:
        raise UserError(
            f"task.losses.isr.enabled is true, but {path}.type is {loss.type!r}: ISR "
            f"weighs examples, so the loss must be {' or '.join(_WEIGHABLE)}"
        )
    data = task.train_data
    if losses.isr.enabled and (data.tfds_name or data.decoder.type != _DECODER):
        raise UserError(
            "task.losses.isr.enabled is true: it tells objects apart in record files "
            f"of task.train_data.decoder.type {_DECODER!r} only, not of tfds_name or "
            "another decoder"
        )
    if task.model.objectness.type == "residual" and (
        task.model.prior.from_data or task.model.prior.value is not None
    ):
        raise UserError(
            "task.model.prior sets the bias of the class output; with residual "
            "objectness leave it alone"
        )


def _check_ghm(path: str, ghm: loss_config.GradientHarmonizing) -> None:
    positive(f"{path}.num_bins", ghm.num_bins)
    positive(f"{path}.mu", ghm.mu)
    one_of(f"{path}.divisor", ghm.divisor, loss_config.DIVISORS)
    if not 0 <= ghm.momentum < 1:
        raise UserError(f"{path}.momentum is {ghm.momentum}; it must be in [0, 1)")


def _check_ranking(loss: loss_config.ClassLoss) -> None:
    path = "task.losses.classification"
    positive(f"{path}.average_precision.delta", loss.average_precision.delta)
    ranking = loss.distributional_ranking
    for name in ("positive_temperature", "negative_temperature", "smoothing", "scale"):
        positive(f"{path}.distributional_ranking.{name}", getattr(ranking, name))
    objectness = loss.objectness
    for name in ("updates", "objectness", "classification"):
        positive(f"{path}.objectness.{name}", getattr(objectness, name))


def _check_two_stage(task: Any) -> None:
    sampler, losses = task.model.roi_sampler, task.losses
    rpn, path = task.model.rpn_sampler, "task.model.rpn_sampler"
    one_of(f"{path}.negatives", rpn.negatives, _RPN_NEGATIVES)
    positive(f"{path}.num_bins", rpn.num_bins)
    if rpn.negatives == "all" and losses.normalizer == "tfm":
        raise UserError(
            f"{path}.negatives is 'all', but task.losses.normalizer is 'tfm', which "
            "divides the sum over all anchors by the number of RoIs; choose "
            "'positives' or 'reference'"
        )
    if sampler.negatives == "all" and losses.normalizer == "reference":
        raise UserError(
            "task.model.roi_sampler.negatives is 'all', but task.losses.normalizer is "
            "'reference': divided by all RoIs, the box loss would all but vanish; "
            "choose 'positives'"
        )
    if rpn.negatives == "all" and rpn.neg_pos_ub:
        raise UserError(
            f"{path}.neg_pos_ub is {rpn.neg_pos_ub}, a bound on negatives, but "
            f"{path}.negatives is 'all'"
        )
    if sampler.is_stock and losses.isr.enabled:
        raise UserError(
            "task.losses.isr.enabled is true with Model Garden's RoI sampler, which "
            "does not tell objects apart: set task.model.roi_sampler.ignore_padding "
            "to true, or choose other positives or negatives"
        )
    weighs = losses.isr.enabled or sampler.negatives == "score_ranked"
    if weighs and losses.normalizer == "tfm":
        raise UserError(
            "task.losses.normalizer is 'tfm': Model Garden's class loss takes no "
            "weights, which ISR sets; choose 'reference' or 'positives'"
        )
    generator = task.model.detection_generator
    sigmoid = getattr(generator, "use_sigmoid_probability", False)
    if task.model.objectness.type == "residual" and (
        losses.frcnn_class_use_binary_cross_entropy or sigmoid
    ):
        raise UserError(
            "task.model.objectness.type is 'residual', whose class outputs are the "
            "logarithms of probabilities that add up to 1; switch "
            "task.losses.frcnn_class_use_binary_cross_entropy and "
            "task.model.detection_generator.use_sigmoid_probability off"
        )
    if losses.carl.weight and losses.normalizer == "tfm":
        raise UserError(
            "task.losses.normalizer is 'tfm'; CARL needs 'reference' or 'positives'"
        )
    looks = losses.isr.enabled or sampling_rule(sampler).is_mined
    if looks and task.model.outer_boxes_scale > 1.0:
        raise UserError(
            "task.model.outer_boxes_scale is above 1; ISR, and samplers that look at "
            "the head's answer, do not know outer boxes"
        )
