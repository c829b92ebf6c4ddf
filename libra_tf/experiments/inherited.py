"""Limits of settings that Model Garden declares, by their place in an experiment.

It declares none itself. What is not here may have any value of its type.
"""

from __future__ import annotations

from official.vision.modeling.backbones.resnet import RESNET_SPECS

from libra_tf.losses.focal import MAX_GAMMA
from libra_tf.samplers.rule import SamplingRule
from libra_tf.setting import Limits, limits_of

_STEPS = Limits(low=1, unit="steps")
_IMAGES = Limits(low=1, unit="images")
_RULE = (
    "num_sampled_rois",
    "foreground_fraction",
    "foreground_iou_threshold",
    "background_iou_high_threshold",
    "background_iou_low_threshold",
)

INHERITED = {
    "runtime.mixed_precision_dtype": Limits(
        choices=(None, "float32", "float16", "bfloat16")
    ),
    "task.losses.focal_loss_alpha": Limits(low=0, high=1),
    "task.losses.focal_loss_gamma": Limits(low=0, high=MAX_GAMMA),
    "task.model.anchor.num_scales": Limits(low=1),
    "task.model.backbone.resnet.model_id": Limits(
        choices=tuple(RESNET_SPECS), unit="layers"
    ),
    **{f"task.model.roi_sampler.{n}": limits_of(SamplingRule, n) for n in _RULE},
    "task.train_data.global_batch_size": _IMAGES,
    "task.validation_data.global_batch_size": _IMAGES,
    "trainer.checkpoint_interval": _STEPS,
    "trainer.max_to_keep": Limits(low=1, unit="checkpoints"),
    "trainer.steps_per_loop": _STEPS,
    "trainer.summary_interval": _STEPS,
    "trainer.train_steps": Limits(low=0, unit="steps"),
    # Orbit would train a negative number of steps for ever; 0 evaluates at the end.
    "trainer.validation_interval": Limits(low=0, unit="steps"),
}
