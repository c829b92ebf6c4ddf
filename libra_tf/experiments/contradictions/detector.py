"""Contradictions within model and losses of any detector."""

from __future__ import annotations

from libra_tf.experiments.contradictions.contradiction import Contradiction
from libra_tf.experiments.loss_config import ELEMENTWISE_BOX_LOSSES
from libra_tf.experiments.model_config import NECKS_OF_ANY_SIZE
from libra_tf.losses.balanced_l1 import MAX_EXPONENT

_ANY_SIZE = "task.model.canvas.form is 'reference', so that images have any size"

DETECTOR = (
    Contradiction(
        "levels in order",
        lambda model, losses: model.min_level > model.max_level,
        "task.model.min_level is {task.model.min_level}, above task.model.max_level, "
        "{task.model.max_level}",
    ),
    Contradiction(
        "level of the neck",
        lambda model, losses: (
            model.neck.is_balanced
            and not model.min_level <= model.neck.refine_level <= model.max_level
        ),
        "task.model.neck.refine_level is {task.model.neck.refine_level}; the pyramid "
        "has the levels {task.model.min_level} to {task.model.max_level}",
    ),
    Contradiction(
        "levels of a neck",
        lambda model, losses: (
            model.neck.type != "none" and model.min_level == model.max_level
        ),
        "task.model.neck.type is {task.model.neck.type!r}, which needs two levels or "
        "more, but task.model.min_level and max_level are both {task.model.min_level}",
    ),
    Contradiction(
        "a decoder with levels",
        lambda model, losses: model.decoder.type == "aspp",
        "task.model.decoder.type is 'aspp', which gives one level only; choose fpn",
    ),
    Contradiction(
        "a decoder for the backbone",
        lambda model, losses: (
            model.decoder.type == "identity"
            and (not model.backbone.gives_pyramid or model.neck.type != "none")
        ),
        "task.model.decoder.type is 'identity' with task.model.backbone.type "
        "{task.model.backbone.type!r} and task.model.neck.type "
        "{task.model.neck.type!r}; it goes with a spinenet and neck 'none': choose fpn",
    ),
    Contradiction(
        "levels of a SpineNet",
        lambda model, losses: (
            model.decoder.type == "identity"
            and model.backbone.gives_pyramid
            and (model.backbone.get().min_level, model.backbone.get().max_level)
            != (model.min_level, model.max_level)
        ),
        "task.model.min_level and max_level are {task.model.min_level} and "
        "{task.model.max_level}; without a decoder they must be those of "
        "task.model.backbone.{task.model.backbone.type}",
    ),
    Contradiction(
        "levels of NAS-FPN",
        lambda model, losses: (
            model.decoder.type == "nasfpn"
            and (model.min_level, model.max_level) != (3, 7)
        ),
        "task.model.decoder.type is 'nasfpn', which was found for the levels 3 to 7; "
        "task.model.min_level and max_level are {task.model.min_level} and "
        "{task.model.max_level}",
    ),
    Contradiction(
        "balanced L1 in float32",
        lambda model, losses: losses.box.exponent > MAX_EXPONENT,
        "task.losses.box: gamma / alpha is {task.losses.box.exponent:g}; balanced L1 "
        f"overflows above {MAX_EXPONENT:g}",
    ),
    Contradiction(
        "a box loss for CARL",
        lambda model, losses: losses.carl.weight > 0 and not losses.box.is_elementwise,
        "task.losses.carl.weight is {task.losses.carl.weight}, but "
        "task.losses.box.type is {task.losses.box.type!r}: CARL weighs a box loss per "
        "box; choose "
        f"{', '.join(ELEMENTWISE_BOX_LOSSES)}",
    ),
    Contradiction(
        "one prior",
        lambda model, losses: model.prior.value is not None and model.prior.from_data,
        "task.model.prior: value is {task.model.prior.value} and from_data is true; "
        "give one of them",
    ),
    Contradiction(
        "stages of a ResNet",
        lambda model, losses: model.frozen_stages > 0 and not model.backbone.is_resnet,
        "task.model.frozen_stages is {task.model.frozen_stages} with backbone "
        "{task.model.backbone.type}; it is for backbone resnet or torch_resnet",
    ),
    Contradiction(
        "suppression by class",
        lambda model, losses: (
            model.detection_generator.is_reference
            and bool(model.detection_generator.soft_nms_sigma)
        ),
        "task.model.detection_generator.form is 'reference', which suppresses class by "
        "class; switch soft_nms_sigma off",
    ),
    Contradiction(
        "sides of an image",
        lambda model, losses: (
            model.fits_each_image and model.canvas.short_side > model.canvas.long_side
        ),
        "task.model.canvas.short_side is {task.model.canvas.short_side}, above "
        "long_side, {task.model.canvas.long_side}",
    ),
    Contradiction(
        "parts for any size",
        lambda model, losses: model.fits_each_image and bool(model.part_of_one_size),
        f"{_ANY_SIZE}; set task.model.{{task.model.part_of_one_size}}.form to "
        "'reference' too",
    ),
    Contradiction(
        "pyramid for any size",
        lambda model, losses: (
            model.fits_each_image
            and not (model.decoder.type == "torch_fpn" and model.neck.takes_any_size)
        ),
        f"{_ANY_SIZE}; that needs task.model.decoder.type torch_fpn and "
        f"task.model.neck.type {' or '.join(NECKS_OF_ANY_SIZE)}",
    ),
    Contradiction(
        "masks of one size",
        lambda model, losses: model.fits_each_image and model.include_mask,
        f"{_ANY_SIZE}; Model Garden's masks need one size of image",
    ),
)
