"""Settings that contradict each other, or would go wrong only much later: one table.

Each rule is a name, what is wrong, and what to say of it: the field, its value and what
to do. The message is a template over `task`, `trainer` and `runtime`. The value of a
single setting is checked before, see `fields`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from official.modeling import hyperparams

from libra_tf.errors import UserError
from libra_tf.experiments.loss_config import (
    WEIGHABLE_BOX_LOSSES,
    WEIGHABLE_CLASS_LOSSES,
)
from libra_tf.experiments.model_config import NECKS_OF_ANY_SIZE
from libra_tf.experiments.task_config import MASK_METRICS, METRICS, ExperimentConfig
from libra_tf.losses.balanced_l1 import MAX_EXPONENT


class Rule(NamedTuple):
    """A contradiction.

    Attributes:
        name: what it is about.
        broken: whether there is this contradiction between the settings of a model and
            of its losses, or in a whole experiment.
        message: template of what is said then.
    """

    name: str
    broken: Callable[..., bool]
    message: str


_ANY_SIZE = "task.model.canvas.form is 'reference', so that images have any size"
_DECODER = "simple_decoder"  # Model Garden's, of which ISR-P has a parser

DETECTOR = (
    Rule(
        "levels in order",
        lambda model, losses: model.min_level > model.max_level,
        "task.model.min_level is {task.model.min_level}, above task.model.max_level, "
        "{task.model.max_level}",
    ),
    Rule(
        "level of the neck",
        lambda model, losses: (
            model.neck.is_balanced
            and not model.min_level <= model.neck.refine_level <= model.max_level
        ),
        "task.model.neck.refine_level is {task.model.neck.refine_level}; the pyramid "
        "has the levels {task.model.min_level} to {task.model.max_level}",
    ),
    Rule(
        "balanced L1 in float32",
        lambda model, losses: losses.box.exponent > MAX_EXPONENT,
        "task.losses.box: gamma / alpha is {task.losses.box.exponent:g}; balanced L1 "
        f"overflows above {MAX_EXPONENT:g}",
    ),
    Rule(
        "a box loss for CARL",
        lambda model, losses: (
            losses.carl.weight > 0 and losses.box.type not in WEIGHABLE_BOX_LOSSES
        ),
        "task.losses.carl.weight is {task.losses.carl.weight}, but "
        "task.losses.box.type is {task.losses.box.type!r}: CARL weighs a box loss per "
        "box; choose "
        f"{', '.join(WEIGHABLE_BOX_LOSSES)}",
    ),
    Rule(
        "one prior",
        lambda model, losses: model.prior.value is not None and model.prior.from_data,
        "task.model.prior: value is {task.model.prior.value} and from_data is true; "
        "give one of them",
    ),
    Rule(
        "stages of a ResNet",
        lambda model, losses: model.frozen_stages > 0 and not model.backbone.is_resnet,
        "task.model.frozen_stages is {task.model.frozen_stages} with backbone "
        "{task.model.backbone.type}; it is for backbone resnet or torch_resnet",
    ),
    Rule(
        "suppression by class",
        lambda model, losses: (
            model.detection_generator.form == "reference"
            and bool(model.detection_generator.soft_nms_sigma)
        ),
        "task.model.detection_generator.form is 'reference', which suppresses class by "
        "class; switch soft_nms_sigma off",
    ),
    Rule(
        "sides of an image",
        lambda model, losses: (
            model.fits_each_image and model.canvas.short_side > model.canvas.long_side
        ),
        "task.model.canvas.short_side is {task.model.canvas.short_side}, above "
        "long_side, {task.model.canvas.long_side}",
    ),
    Rule(
        "parts for any size",
        lambda model, losses: model.fits_each_image and bool(model.part_of_one_size),
        f"{_ANY_SIZE}; set task.model.{{task.model.part_of_one_size}}.form to "
        "'reference' too",
    ),
    Rule(
        "pyramid for any size",
        lambda model, losses: (
            model.fits_each_image
            and not (model.decoder.type == "torch_fpn" and model.neck.takes_any_size)
        ),
        f"{_ANY_SIZE}; that needs task.model.decoder.type torch_fpn and "
        f"task.model.neck.type {' or '.join(NECKS_OF_ANY_SIZE)}",
    ),
    Rule(
        "masks of one size",
        lambda model, losses: model.fits_each_image and model.include_mask,
        f"{_ANY_SIZE}; Model Garden's masks need one size of image",
    ),
)

ONE_STAGE = (
    Rule(
        "losses of attributes",
        lambda model, losses: bool(model.head.attribute_heads) and not losses.is_stock,
        "task.model.head.attribute_heads: their loss goes with Model Garden's own "
        "losses only: normalizer 'tfm', box.type 'huber', classification.type 'focal' "
        "and of weight 1, without isr, carl and guided",
    ),
    Rule(
        "suppression of classes apart",
        lambda model, losses: (
            model.detection_generator.form == "reference"
            and bool(model.detection_generator.use_class_agnostic_nms)
        ),
        "task.model.detection_generator.form is 'reference', which suppresses class by "
        "class; switch use_class_agnostic_nms off",
    ),
    Rule(
        "detections only",
        lambda model, losses: (
            model.detection_generator.form == "reference"
            and bool(
                model.head.attribute_heads
                or model.detection_generator.return_decoded
                or not model.detection_generator.apply_nms
            )
        ),
        "task.model.detection_generator.form is 'reference', which gives detections "
        "only: no task.model.head.attribute_heads, no return_decoded, and apply_nms",
    ),
    Rule(
        "thresholds from data",
        lambda model, losses: (
            model.prior.score_threshold != "fixed" and not model.prior.from_data
        ),
        "task.model.prior.score_threshold is {task.model.prior.score_threshold!r}, but "
        "task.model.prior.from_data is false: the thresholds come from the data",
    ),
    Rule(
        "one threshold at a time",
        lambda model, losses: (
            model.prior.score_threshold != "fixed"
            and model.detection_generator.pre_nms_score_threshold > 0
        ),
        "task.model.prior.score_threshold is {task.model.prior.score_threshold!r}, but "
        "task.model.detection_generator.pre_nms_score_threshold is "
        "{task.model.detection_generator.pre_nms_score_threshold}, which would act "
        "first: set it to 0",
    ),
    Rule(
        "residual objectness",
        lambda model, losses: (
            (losses.classification.type == "residual_objectness")
            != (model.objectness.type == "residual")
        ),
        "task.losses.classification.type is {task.losses.classification.type!r} and "
        "task.model.objectness.type is {task.model.objectness.type!r}: residual "
        "objectness needs both, the head and its loss",
    ),
    Rule(
        "prior of residual objectness",
        lambda model, losses: (
            model.objectness.type == "residual" and model.prior.is_set
        ),
        "task.model.prior sets the bias of the class output; with residual objectness "
        "leave it alone",
    ),
    Rule(
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

TWO_STAGE = (
    Rule(
        "sampling rule",
        lambda model, losses: bool(model.roi_sampler.contradiction),
        "task.model.roi_sampler: {task.model.roi_sampler.contradiction}",
    ),
    Rule(
        "masks of sampled RoIs",
        lambda model, losses: (
            model.include_mask
            and model.mask_sampler.num_sampled_masks
            > model.roi_sampler.num_sampled_rois
        ),
        "task.model.mask_sampler.num_sampled_masks is "
        "{task.model.mask_sampler.num_sampled_masks}; only "
        "{task.model.roi_sampler.num_sampled_rois} RoIs are sampled "
        "(task.model.roi_sampler.num_sampled_rois)",
    ),
    Rule(
        "a stock cascade",
        lambda model, losses: (
            bool(model.roi_sampler.cascade_iou_thresholds)
            and not (
                model.roi_sampler.is_stock
                and losses.normalizer == "tfm"
                and losses.box.type == "huber"
            )
        ),
        "task.model.roi_sampler.cascade_iou_thresholds: cascade heads work with Model "
        "Garden's own sampler, normaliser and box loss only",
    ),
    Rule(
        "class losses of Model Garden",
        lambda model, losses: (
            losses.normalizer != "tfm" and not losses.is_plain_classification
        ),
        "task.losses: frcnn_class_loss_top_k_percent, class_weights and "
        "frcnn_class_use_binary_cross_entropy belong to normalizer 'tfm'",
    ),
    Rule(
        "thresholds of RetinaNet",
        lambda model, losses: model.prior.score_threshold != "fixed",
        "task.model.prior.score_threshold is {task.model.prior.score_threshold!r}; it "
        "is for RetinaNet. For the R-CNN head set "
        "task.model.detection_generator.pre_nms_score_threshold",
    ),
    Rule(
        "divisor of all anchors",
        lambda model, losses: (
            model.rpn_sampler.negatives == "all" and losses.normalizer == "tfm"
        ),
        "task.model.rpn_sampler.negatives is 'all', but task.losses.normalizer is "
        "'tfm', which divides the sum over all anchors by the number of RoIs; choose "
        "'positives' or 'reference'",
    ),
    Rule(
        "divisor of all RoIs",
        lambda model, losses: (
            model.roi_sampler.negatives == "all" and losses.normalizer == "reference"
        ),
        "task.model.roi_sampler.negatives is 'all', but task.losses.normalizer is "
        "'reference': divided by all RoIs, the box loss would all but vanish; choose "
        "'positives'",
    ),
    Rule(
        "no bound on all anchors",
        lambda model, losses: (
            model.rpn_sampler.negatives == "all" and model.rpn_sampler.neg_pos_ub > 0
        ),
        "task.model.rpn_sampler.neg_pos_ub is {task.model.rpn_sampler.neg_pos_ub}, a "
        "bound on negatives, but task.model.rpn_sampler.negatives is 'all'",
    ),
    Rule(
        "instances for ISR",
        lambda model, losses: losses.isr.enabled and model.roi_sampler.is_stock,
        "task.losses.isr.enabled is true with Model Garden's RoI sampler, which does "
        "not tell objects apart: set task.model.roi_sampler.ignore_padding to true, or "
        "choose other positives or negatives",
    ),
    Rule(
        "a class loss with weights",
        lambda model, losses: (
            losses.normalizer == "tfm"
            and (losses.isr.enabled or model.roi_sampler.negatives == "score_ranked")
        ),
        "task.losses.normalizer is 'tfm': Model Garden's class loss takes no weights, "
        "which ISR sets; choose 'reference' or 'positives'",
    ),
    Rule(
        "softmax of residual objectness",
        lambda model, losses: (
            model.objectness.type == "residual"
            and (
                losses.frcnn_class_use_binary_cross_entropy
                or model.detection_generator.use_sigmoid_probability
            )
        ),
        "task.model.objectness.type is 'residual', whose class outputs are the "
        "logarithms of probabilities that add up to 1; switch "
        "task.losses.frcnn_class_use_binary_cross_entropy and "
        "task.model.detection_generator.use_sigmoid_probability off",
    ),
    Rule(
        "a normaliser for CARL",
        lambda model, losses: losses.carl.weight > 0 and losses.normalizer == "tfm",
        "task.losses.normalizer is 'tfm'; CARL needs 'reference' or 'positives'",
    ),
    Rule(
        "no outer boxes",
        lambda model, losses: (
            model.outer_boxes_scale > 1.0
            and (losses.isr.enabled or model.roi_sampler.rule.is_mined)
        ),
        "task.model.outer_boxes_scale is above 1; ISR, and samplers that look at the "
        "head's answer, do not know outer boxes",
    ),
)

RUN = (
    Rule(
        "sizes that XLA knows",
        lambda p: (
            p.runtime.enable_xla
            and p.task.is_two_stage
            and p.task.model.roi_aligner.form == "reference"
        ),
        "task.model.roi_aligner.form is 'reference', whose windows have sizes that XLA "
        "cannot know; set runtime.enable_xla to false",
    ),
    Rule(
        "prior of record files",
        lambda p: p.task.model.prior.from_data and bool(p.task.train_data.tfds_name),
        "task.model.prior.from_data is true, but task.train_data.tfds_name is set: it "
        "counts record files; give task.train_data.input_path, or "
        "task.model.prior.value",
    ),
    Rule(
        "instances of record files",
        lambda p: (
            p.task.losses.isr.enabled
            and not p.task.is_two_stage
            and (
                bool(p.task.train_data.tfds_name)
                or p.task.train_data.decoder.type != _DECODER
            )
        ),
        "task.losses.isr.enabled is true: it tells objects apart in record files of "
        f"task.train_data.decoder.type {_DECODER!r} only, not of tfds_name or another "
        "decoder",
    ),
    Rule(
        "frozen at a checkpoint",
        lambda p: (
            not p.task.init_checkpoint
            and (p.task.model.frozen_stages > 0 or p.task.model.backbone.keeps_norm)
        ),
        "task.init_checkpoint is empty, but part of the backbone is frozen at its "
        "initial weights: give a checkpoint, or set task.model.frozen_stages to 0 and "
        "task.model.backbone.{task.model.backbone.norm_switch}",
    ),
    Rule(
        "images of any size",
        lambda p: p.task.model.takes_any_size and not p.task.model.fits_each_image,
        "task.model.input_size is {task.model.input_size}; images of any size need "
        "task.model.canvas.form reference",
    ),
    Rule(
        "size of images",
        lambda p: not (p.task.model.takes_any_size or p.task.model.has_one_size),
        "task.model.input_size is {task.model.input_size}; give [height, width, 3]",
    ),
    Rule(
        "whole cells",
        lambda p: (
            p.task.model.has_one_size
            and list(p.task.model.input_size[:2]) != p.task.model.next_size
        ),
        "task.model.input_size is {task.model.input_size}; height and width must be "
        "multiples of {task.model.stride}, the stride of task.model.max_level "
        "{task.model.max_level}: {task.model.next_size} is the next size",
    ),
    Rule(
        "records to train on",
        lambda p: not (p.task.train_data.input_path or p.task.train_data.tfds_name),
        "task.train_data.input_path is empty: give task.dataset, or the pattern of the "
        "record files",
    ),
    Rule(
        "records to evaluate on",
        lambda p: (
            not (p.task.validation_data.input_path or p.task.validation_data.tfds_name)
        ),
        "task.validation_data.input_path is empty: give task.dataset, or the pattern "
        "of the record files",
    ),
    Rule(
        "metrics of COCO",
        lambda p: p.task.is_two_stage and p.task.use_wod_metrics,
        "task.use_wod_metrics: Waymo metrics are not part of libra_tf",
    ),
    Rule(
        "loops in a summary",
        lambda p: p.trainer.summary_interval % p.trainer.steps_per_loop != 0,
        "trainer.summary_interval is {trainer.summary_interval}; it must be a multiple "
        "of trainer.steps_per_loop, {trainer.steps_per_loop}",
    ),
    Rule(
        "loops in a checkpoint",
        lambda p: p.trainer.checkpoint_interval % p.trainer.steps_per_loop != 0,
        "trainer.checkpoint_interval is {trainer.checkpoint_interval}; it must be a "
        "multiple of trainer.steps_per_loop, {trainer.steps_per_loop}",
    ),
    Rule(
        "batches to evaluate",
        lambda p: p.trainer.validation_steps == 0 or p.trainer.validation_steps < -1,
        "trainer.validation_steps is {trainer.validation_steps}; give the number of "
        "batches, or -1 for all",
    ),
    Rule(
        "metric of the best checkpoint",
        lambda p: (
            bool(p.trainer.best_checkpoint_export_subdir)
            and not p.task.model.include_mask
            and p.trainer.best_checkpoint_eval_metric not in METRICS
        ),
        "trainer.best_checkpoint_eval_metric is "
        "{trainer.best_checkpoint_eval_metric!r}; choose "
        f"{', '.join(METRICS)}",
    ),
    Rule(
        "metric of the best checkpoint with masks",
        lambda p: (
            bool(p.trainer.best_checkpoint_export_subdir)
            and p.task.model.include_mask
            and p.trainer.best_checkpoint_eval_metric not in METRICS + MASK_METRICS
        ),
        "trainer.best_checkpoint_eval_metric is "
        "{trainer.best_checkpoint_eval_metric!r}; choose "
        f"{', '.join(METRICS + MASK_METRICS)}",
    ),
)


def check_detector(params: ExperimentConfig) -> None:
    """Raises `UserError` for the first contradiction within model and losses."""
    of_its_kind = TWO_STAGE if params.task.is_two_stage else ONE_STAGE
    for rule in DETECTOR + of_its_kind:
        _check(rule, params, params.task.model, params.task.losses)


def check_experiment(params: ExperimentConfig) -> None:
    """Raises `UserError` for the first contradiction in a resolved experiment."""
    check_detector(params)
    for rule in RUN:
        _check(rule, params, params)


def _check(rule: Rule, params: ExperimentConfig, *settings: hyperparams.Config) -> None:
    if rule.broken(*settings):
        raise UserError(
            rule.message.format(
                task=params.task, trainer=params.trainer, runtime=params.runtime
            )
        )
