"""Contradictions between detector, data, schedule and devices.

Four rows are about one setting: "size of images", "metrics of COCO", "batches to
evaluate" and "a scale of the loss". They are here because `Limits` cannot tell the
parts of a list, a reason, "-1 or at least 1", or "a word or a number".
"""

from __future__ import annotations

import itertools
from typing import Any

from libra_tf.experiments.contradictions.contradiction import Contradiction

_MOST_SCALE = 2.0**120  # float32 ends at 2**128
_DECODER = "simple_decoder"  # Model Garden's, the one that parsers of ours know


def _has_steps(schedule: Any) -> bool:
    boundaries, values = schedule.boundaries or [], schedule.values or []
    return len(values) == len(boundaries) + 1 and all(
        first < second for first, second in itertools.pairwise(boundaries)
    )


def _unset(rate: Any) -> list[str]:
    """Settings of the chosen schedule that have no value but need one."""
    schedule = rate.get() if rate.type else None
    names = (
        "initial_learning_rate", "decay_steps", "total_decay_steps", "decay_rate",
        "warmup_steps",
    )  # fmt: skip
    return [n for n in names if getattr(schedule, n, 0) is None]


RUN = (
    Contradiction(
        "a name for each class",
        lambda p: (
            bool(p.task.class_names)
            and len(p.task.class_names) != p.task.model.num_classes
        ),
        "task.class_names is {task.class_names}; with the background it must have as "
        "many names as task.model.num_classes, {task.model.num_classes}",
    ),
    Contradiction(
        "replicas on CPUs or GPUs",
        lambda p: p.runtime.cpu_replicas > 1 and p.runtime.num_gpus > 0,
        "runtime.cpu_replicas is {runtime.cpu_replicas}, which goes with "
        "runtime.num_gpus 0 only; it is {runtime.num_gpus}",
    ),
    Contradiction(
        "sizes that XLA knows",
        lambda p: (
            p.runtime.enable_xla
            and p.task.is_two_stage
            and p.task.model.roi_aligner.is_reference
        ),
        "task.model.roi_aligner.form is 'reference', whose windows have sizes that XLA "
        "cannot know; set runtime.enable_xla to false",
    ),
    Contradiction(
        "prior of record files",
        lambda p: p.task.model.prior.from_data and bool(p.task.train_data.tfds_name),
        "task.model.prior.from_data is true, but task.train_data.tfds_name is set: it "
        "counts record files; give task.train_data.input_path, or "
        "task.model.prior.value",
    ),
    Contradiction(
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
    Contradiction(
        "decoder of images of any size",
        lambda p: (
            p.task.model.fits_each_image
            and p.task.validation_data.decoder.type != _DECODER
        ),
        "task.validation_data.decoder.type is {task.validation_data.decoder.type!r}; "
        f"with task.model.canvas.form reference it must be {_DECODER!r}",
    ),
    Contradiction(
        "frozen at a checkpoint",
        lambda p: (
            not p.task.init_checkpoint
            and (p.task.model.frozen_stages > 0 or p.task.model.backbone.keeps_norm)
        ),
        "task.init_checkpoint is empty, but part of the backbone is frozen at its "
        "initial weights: give a checkpoint, or set task.model.frozen_stages to 0 and "
        "task.model.backbone.{task.model.backbone.norm_switch}",
    ),
    Contradiction(
        "images of any size",
        lambda p: p.task.model.takes_any_size and not p.task.model.fits_each_image,
        "task.model.input_size is {task.model.input_size}; images of any size need "
        "task.model.canvas.form reference",
    ),
    Contradiction(
        "size of images",
        lambda p: not (p.task.model.takes_any_size or p.task.model.has_one_size),
        "task.model.input_size is {task.model.input_size}; give [height, width, 3]",
    ),
    Contradiction(
        "whole cells",
        lambda p: (
            p.task.model.has_one_size
            and list(p.task.model.input_size[:2]) != p.task.model.next_size
        ),
        "task.model.input_size is {task.model.input_size}; height and width must be "
        "multiples of {task.model.stride}, the stride of task.model.max_level "
        "{task.model.max_level}: {task.model.next_size} is the next size",
    ),
    Contradiction(
        "records to train on",
        lambda p: not (p.task.train_data.input_path or p.task.train_data.tfds_name),
        "task.train_data.input_path is empty: give task.dataset, or the pattern of the "
        "record files",
    ),
    Contradiction(
        "records to evaluate on",
        lambda p: (
            not (p.task.validation_data.input_path or p.task.validation_data.tfds_name)
        ),
        "task.validation_data.input_path is empty: give task.dataset, or the pattern "
        "of the record files",
    ),
    Contradiction(
        "metrics of COCO",
        lambda p: p.task.is_two_stage and p.task.use_wod_metrics,
        "task.use_wod_metrics: Waymo metrics are not part of libra_tf",
    ),
    Contradiction(
        "loops in a summary",
        lambda p: p.trainer.summary_interval % p.trainer.steps_per_loop != 0,
        "trainer.summary_interval is {trainer.summary_interval}; it must be a multiple "
        "of trainer.steps_per_loop, {trainer.steps_per_loop}",
    ),
    Contradiction(
        "loops in a checkpoint",
        lambda p: p.trainer.checkpoint_interval % p.trainer.steps_per_loop != 0,
        "trainer.checkpoint_interval is {trainer.checkpoint_interval}; it must be a "
        "multiple of trainer.steps_per_loop, {trainer.steps_per_loop}",
    ),
    Contradiction(
        "batches to evaluate",
        lambda p: p.trainer.validation_steps == 0 or p.trainer.validation_steps < -1,
        "trainer.validation_steps is {trainer.validation_steps}; give the number of "
        "batches, or -1 for all",
    ),
    Contradiction(
        "a rate before, between and after the boundaries",
        lambda p: (
            p.trainer.optimizer_config.learning_rate.type
            in ("stepwise", "step_cosine_with_offset")
            and not _has_steps(p.trainer.optimizer_config.learning_rate.get())
        ),
        "trainer.optimizer_config.learning_rate.{trainer.optimizer_config.learning_rate"
        ".type}: boundaries must rise, and values have one entry more than they",
    ),
    Contradiction(
        "a schedule that knows its length",
        lambda p: bool(_unset(p.trainer.optimizer_config.learning_rate)),
        "trainer.optimizer_config.learning_rate.{trainer.optimizer_config.learning_rate"
        ".type}: a rate, or its number of steps, is not set; see `libra config show "
        "trainer.optimizer_config.learning_rate`",
    ),
    Contradiction(
        "a warm-up that knows its length",
        lambda p: bool(_unset(p.trainer.optimizer_config.warmup)),
        "trainer.optimizer_config.warmup.{trainer.optimizer_config.warmup.type}"
        ".warmup_steps is not set; set trainer.optimizer_config.warmup.type to null "
        "for no warm-up",
    ),
    Contradiction(
        "an optimizer and its rate",
        lambda p: (
            not (
                p.trainer.optimizer_config.optimizer.type
                and p.trainer.optimizer_config.learning_rate.type
            )
        ),
        "trainer.optimizer_config.optimizer.type is "
        "{trainer.optimizer_config.optimizer.type!r} and "
        "trainer.optimizer_config.learning_rate.type is "
        "{trainer.optimizer_config.learning_rate.type!r}; both must be set",
    ),
    Contradiction(
        "a scale of the loss",
        lambda p: (
            not (
                p.runtime.loss_scale in (None, "", "dynamic")
                or (
                    isinstance(p.runtime.loss_scale, int | float)
                    and 0 < p.runtime.loss_scale < _MOST_SCALE
                )
            )
        ),
        "runtime.loss_scale is {runtime.loss_scale!r}; give 'dynamic' or a number > 0",
    ),
    *(
        Contradiction(
            f"a range of scales of {data}",
            lambda p, data=data: (
                getattr(p.task, data).parser.aug_scale_min
                > getattr(p.task, data).parser.aug_scale_max
            ),
            f"task.{data}.parser.aug_scale_min is {{task.{data}.parser.aug_scale_min}},"
            f" above aug_scale_max, {{task.{data}.parser.aug_scale_max}}",
        )
        for data in ("train_data", "validation_data")
    ),
    *(
        Contradiction(
            f"thresholds {low} and {high} of {data}",
            lambda p, data=data, low=low, high=high: (
                getattr(getattr(p.task, data).parser, low, 0.0)
                > getattr(getattr(p.task, data).parser, high, 1.0)
            ),
            f"task.{data}.parser: {low} is above {high}",
        )
        for data in ("train_data", "validation_data")
        for low, high in (
            ("unmatched_threshold", "match_threshold"),
            ("rpn_unmatched_threshold", "rpn_match_threshold"),
        )
    ),
    Contradiction(
        "metric of the best checkpoint",
        lambda p: (
            bool(p.trainer.best_checkpoint_export_subdir)
            and not p.task.metric_limits.allow(p.trainer.best_checkpoint_eval_metric)
        ),
        "trainer.best_checkpoint_eval_metric is "
        "{trainer.best_checkpoint_eval_metric!r}; it must be {task.metric_limits}",
    ),
)
