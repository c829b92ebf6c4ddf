"""Task, trainer and runtime settings: Model Garden's, plus data set and seed."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from official.core import config_definitions as tfm
from official.vision.configs import maskrcnn as tfm_maskrcnn
from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.experiments.loss_config import MaskRCNNLosses, RetinaNetLosses
from libra_tf.experiments.model_config import MaskRCNN, RetinaNet
from libra_tf.experiments.stock import of_ours
from libra_tf.setting import Limits, setting

# An evaluation always gives these, and those of masks where there are any.
METRICS = ("AP", "AP50", "AP75")
MASK_METRICS = tuple(f"mask_{name}" for name in METRICS)


def known_metrics(include_mask: bool) -> tuple[str, ...]:
    """Returns the metrics that every evaluation gives."""
    return METRICS + MASK_METRICS if include_mask else METRICS


class _WithModel(Protocol):
    model: MaskRCNN | RetinaNet


@dataclasses.dataclass
class TaskFields:
    """Where examples, class names and initial weights come from.

    Attributes:
        dataset: folder that `libra data convert` wrote. It gives the record files, the
            evaluation JSON, the class names and `model.num_classes`; leave it empty to
            set those one by one, as in Model Garden.
        train_split: split of `dataset` to train on.
        validation_split: split of `dataset` to evaluate on.
        class_names: name of class id i at position i; 0 is the background. Filled in
            from `dataset`.
        max_num_eval_detections: at most so many detections of an image and class are
            evaluated.
        seed: of the initial weights of the parts that Model Garden does not have; null
            takes `trainer.seed`.
    """

    dataset: str = ""
    train_split: str = "train"
    validation_split: str = "val"
    class_names: list[str] = dataclasses.field(default_factory=list)
    max_num_eval_detections: int = setting(
        100, low=1, high=10**6, unit="detections", source="COCO"
    )
    seed: int | None = None

    @property
    def metric_limits(self: _WithModel) -> Limits:
        """Which metrics the best checkpoint can be chosen by."""
        return Limits(choices=known_metrics(self.model.include_mask))


def names_by_id(task: tfm.TaskConfig) -> dict[int, str]:
    """Returns class id to name, without the background and the gaps in the ids."""
    names = enumerate(of_ours(task, "class_names"))
    return {i: name for i, name in names if i and name}


@dataclasses.dataclass
class MaskRCNNTask(TaskFields, tfm_maskrcnn.MaskRCNNTask):
    """Faster and Mask R-CNN.

    Attributes:
        evaluate_proposals: report the average recall of the RPN's proposals (Libra
            R-CNN, Table 3).
    """

    model: MaskRCNN = dataclasses.field(default_factory=MaskRCNN)
    losses: MaskRCNNLosses = dataclasses.field(default_factory=MaskRCNNLosses)
    evaluate_proposals: bool = True

    @property
    def is_two_stage(self) -> bool:
        """Whether a second stage looks at proposals: yes."""
        return True


@dataclasses.dataclass
class RetinaNetTask(TaskFields, tfm_retinanet.RetinaNetTask):
    """RetinaNet."""

    model: RetinaNet = dataclasses.field(default_factory=RetinaNet)
    losses: RetinaNetLosses = dataclasses.field(default_factory=RetinaNetLosses)
    validation_data: tfm_retinanet.DataConfig = dataclasses.field(
        # Model Garden's default drops the last, short batch and so evaluates a subset.
        default_factory=lambda: tfm_retinanet.DataConfig(
            is_training=False, drop_remainder=False
        )
    )

    @property
    def is_two_stage(self) -> bool:
        """Whether a second stage looks at proposals: no."""
        return False


@dataclasses.dataclass
class TrainerConfig(tfm.TrainerConfig):
    """Training schedule.

    Attributes:
        reference_batch_size: if set, the learning rates are meant for this global batch
            size and are scaled linearly to the one in use.
        seed: seeds initial weights, shuffling and the samplers. Model Garden draws
            augmentation and RPN labels in parallel threads, so two runs of one seed
            still differ (`task.train_data.deterministic` orders the records only),
            unless `runtime.deterministic` is set.
        imbalance_interval: at least so many steps between two looks at the imbalance in
            the batch, which TensorBoard shows under `imbalance/`; looks come with
            summaries (`summary_interval`), and cost about a step each. 0 is off.
    """

    reference_batch_size: int = setting(0, low=0, unit="images")
    seed: int | None = None
    imbalance_interval: int = setting(100, low=0, unit="steps")


@dataclasses.dataclass
class RuntimeConfig(tfm.RuntimeConfig):
    """Devices.

    Attributes:
        cpu_replicas: with `num_gpus` 0, train on this many logical CPU devices as if
            they were GPUs. For tests of multi-replica behaviour, not for speed.
        deterministic: augmentation and anchor labels are drawn in one order, in one
            thread. With `trainer.seed`, two runs on the same CPU threads then give
            equal losses, and experiments that differ in the detector only see the same
            images and labels.
    """

    cpu_replicas: int = setting(0, low=0, high=256, unit="devices")
    deterministic: bool = False


@dataclasses.dataclass
class ExperimentConfig(tfm.ExperimentConfig):
    """An experiment of this package.

    Attributes:
        experiment: the name that it is registered by.
    """

    experiment: str = ""
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)
