"""Contradictions between detector, data, schedule and devices.

Three rows are about one setting: "size of images", "metrics of COCO" and "batches to
evaluate". They are here because `Limits` cannot tell the parts of a list, a reason, or
"-1 or at least 1".
"""

from __future__ import annotations

from libra_tf.experiments.contradictions.contradiction import Contradiction

_DECODER = "simple_decoder"  # Model Garden's, the one that parsers of ours know

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
        "metric of the best checkpoint",
        lambda p: (
            bool(p.trainer.best_checkpoint_export_subdir)
            and not p.task.metric_limits.allow(p.trainer.best_checkpoint_eval_metric)
        ),
        "trainer.best_checkpoint_eval_metric is "
        "{trainer.best_checkpoint_eval_metric!r}; it must be {task.metric_limits}",
    ),
)
