"""What makes no sense together, or would go wrong only much later.

Each check returns nothing or raises `UserError` with the field, its value and what to
do.
"""

from __future__ import annotations

from typing import Any

from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.modeling.backbones.resnet import RESNET_SPECS

from libra_tf.errors import UserError
from libra_tf.experiments import loss_config, model_config
from libra_tf.experiments.method_checks import check_methods
from libra_tf.experiments.ranges import one_of, positive
from libra_tf.experiments.reference_checks import check_forms
from libra_tf.experiments.sampling_rule import sampling_rule

BEST_METRICS = ("AP", "AP50", "AP75")  # the evaluator always gives these
PRECISIONS = (None, "float32", "float16", "bfloat16")
MAX_GAMMA_OVER_ALPHA = 80  # of balanced L1, whose b is e**(gamma / alpha) - 1


def check(params: Any) -> None:
    """Raises `UserError` for the first contradiction in a resolved experiment."""
    one_of(
        "runtime.mixed_precision_dtype",
        params.runtime.mixed_precision_dtype,
        PRECISIONS,
    )
    check_seams(params.task)
    check_forms(params.task, params.runtime.enable_xla)
    check_methods(params.task)
    if isinstance(params.task, tfm_maskrcnn.MaskRCNNTask):
        _check_rcnn(params.task)
    _check_frozen(params.task)
    _check_data(params)
    _check_intervals(params.trainer)
    _check_best_metric(params)


def check_seams(task: Any) -> None:
    """Raises `UserError` for the first contradiction in neck, anchors and losses."""
    neck, losses = task.model.neck, task.losses
    if task.model.min_level > task.model.max_level:
        raise UserError(
            f"task.model.min_level is {task.model.min_level}, above "
            f"task.model.max_level, {task.model.max_level}"
        )
    positive("task.model.anchor.num_scales", task.model.anchor.num_scales)
    one_of("task.model.neck.type", neck.type, model_config.NECKS)
    one_of("task.model.neck.refine", neck.refine, model_config.REFINEMENTS)
    levels = range(task.model.min_level, task.model.max_level + 1)
    if "balanced" in neck.type and neck.refine_level not in levels:
        raise UserError(
            f"task.model.neck.refine_level is {neck.refine_level}; the pyramid has the "
            f"levels {levels[0]} to {levels[-1]}"
        )
    box, one_stage = losses.box, hasattr(losses, "classification")
    normalizers, box_losses = (
        (loss_config.NORMALIZERS, loss_config.ONE_STAGE_BOX_LOSSES)
        if one_stage
        else (loss_config.TWO_STAGE_NORMALIZERS, loss_config.BOX_LOSSES)
    )
    one_of("task.losses.normalizer", losses.normalizer, normalizers)
    one_of("task.losses.box.type", box.type, box_losses)
    one_of("task.losses.box.form", box.form, ("consistent", "reference"))
    positive("task.losses.box.weight", box.weight, zero=True)
    for name in ("alpha", "gamma", "beta"):
        positive(f"task.losses.box.{name}", getattr(box, name))
    if box.gamma / box.alpha > MAX_GAMMA_OVER_ALPHA:
        raise UserError(
            f"task.losses.box: gamma / alpha is {box.gamma / box.alpha:g}; balanced L1 "
            f"overflows above {MAX_GAMMA_OVER_ALPHA}"
        )
    heads = getattr(getattr(task.model, "head", None), "attribute_heads", None)
    if heads and not losses.is_stock:
        raise UserError(
            "task.model.head.attribute_heads: their loss goes with Model Garden's own "
            "losses only: normalizer 'tfm', box.type 'huber', classification.type "
            "'focal' and of weight 1, without isr, carl and guided"
        )


def _check_rcnn(task: Any) -> None:
    sampler, losses = task.model.roi_sampler, task.losses
    if not sampler.is_stock:
        sampling_rule(sampler)
    positive(
        "task.model.rpn_sampler.neg_pos_ub",
        task.model.rpn_sampler.neg_pos_ub,
        zero=True,
    )
    if task.model.include_mask:
        most, masks = sampler.num_sampled_rois, task.model.mask_sampler
        if masks.num_sampled_masks > most:
            raise UserError(
                f"task.model.mask_sampler.num_sampled_masks is "
                f"{masks.num_sampled_masks}; only {most} RoIs are sampled "
                "(task.model.roi_sampler.num_sampled_rois)"
            )
    cascade = sampler.cascade_iou_thresholds
    if cascade and (
        not sampler.is_stock or losses.normalizer != "tfm" or losses.box.type != "huber"
    ):
        raise UserError(
            "task.model.roi_sampler.cascade_iou_thresholds: cascade heads work with "
            "Model Garden's own sampler, normaliser and box loss only"
        )
    if losses.normalizer != "tfm":
        plain = (
            losses.frcnn_class_loss_top_k_percent == 1.0
            and not losses.frcnn_class_use_binary_cross_entropy
            and not losses.class_weights
        )
        if not plain:
            raise UserError(
                "task.losses: frcnn_class_loss_top_k_percent, class_weights and "
                "frcnn_class_use_binary_cross_entropy belong to normalizer 'tfm'"
            )


def _check_frozen(task: Any) -> None:
    resnet = task.model.backbone.get()
    if task.model.backbone.type == "resnet":
        sizes = tuple(RESNET_SPECS)
        one_of("task.model.backbone.resnet.model_id", resnet.model_id, sizes)
    stages, backbone = task.model.frozen_stages, task.model.backbone.type
    is_resnet = backbone in ("resnet", "torch_resnet")
    if stages not in range(5) or (stages and not is_resnet):
        raise UserError(
            f"task.model.frozen_stages is {stages} with backbone {backbone}; it is for "
            "backbone resnet or torch_resnet and from 0 to 4"
        )
    if task.init_checkpoint:
        return
    moves = getattr(resnet, "bn_trainable", True)
    switch = "task.model.backbone.resnet.bn_trainable to true"
    if backbone == "torch_resnet":
        moves = resnet.norm == "batch"
        switch = "task.model.backbone.torch_resnet.norm to batch"
    if task.model.frozen_stages or not moves:
        raise UserError(
            "task.init_checkpoint is empty, but part of the backbone is frozen at its "
            "initial weights: give a checkpoint, or set task.model.frozen_stages to 0 "
            f"and {switch}"
        )


def _check_data(params: Any) -> None:
    task = params.task
    size = list(task.model.input_size)
    stride = 2**task.model.max_level
    any_size = size == [None, None, 3]
    if any_size and task.model.canvas.form != "reference":
        raise UserError(
            f"task.model.input_size is {size}; images of any size need "
            "task.model.canvas.form reference"
        )
    if not any_size and (
        len(size) != 3 or None in size or min(size) < 1 or size[2] != 3
    ):
        raise UserError(f"task.model.input_size is {size}; give [height, width, 3]")
    for name in ("train_data", "validation_data"):
        data = getattr(task, name)
        positive(f"task.{name}.global_batch_size", data.global_batch_size)
        if not data.input_path and not getattr(data, "tfds_name", ""):
            raise UserError(
                f"task.{name}.input_path is empty: give task.dataset, or the pattern "
                "of the record files"
            )
    if not any_size and (size[0] % stride or size[1] % stride):
        fitting = [-(-n // stride) * stride for n in size[:2]]
        raise UserError(
            f"task.model.input_size is {size}; height and width must be multiples of "
            f"{stride}, the stride of task.model.max_level {task.model.max_level}: "
            f"{fitting} is the next size"
        )
    if getattr(task, "use_wod_metrics", False):
        raise UserError("task.use_wod_metrics: Waymo metrics are not part of libra_tf")


def _check_intervals(trainer: Any) -> None:
    positive("trainer.train_steps", trainer.train_steps, zero=True)
    positive("trainer.max_to_keep", trainer.max_to_keep)
    for name in ("steps_per_loop", "summary_interval", "checkpoint_interval"):
        positive(f"trainer.{name}", getattr(trainer, name))
    for name in ("summary_interval", "checkpoint_interval"):
        value = getattr(trainer, name)
        if value % trainer.steps_per_loop:
            raise UserError(
                f"trainer.{name} is {value}; it must be a multiple of "
                f"trainer.steps_per_loop, {trainer.steps_per_loop}"
            )
    if trainer.validation_steps == 0 or trainer.validation_steps < -1:
        raise UserError(
            f"trainer.validation_steps is {trainer.validation_steps}; give the number "
            "of batches, or -1 for all"
        )
    # Orbit would train a negative number of steps for ever; 0 evaluates at the end.
    positive("trainer.validation_interval", trainer.validation_interval, zero=True)


def _check_best_metric(params: Any) -> None:
    trainer = params.trainer
    if not trainer.best_checkpoint_export_subdir:
        return
    choices = BEST_METRICS
    if getattr(params.task.model, "include_mask", False):
        choices += tuple(f"mask_{name}" for name in BEST_METRICS)
    metric = trainer.best_checkpoint_eval_metric
    one_of("trainer.best_checkpoint_eval_metric", metric, choices)
