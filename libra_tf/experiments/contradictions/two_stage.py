"""Contradictions within model and losses of Faster and Mask R-CNN."""

from __future__ import annotations

from libra_tf.experiments.contradictions.contradiction import Contradiction

TWO_STAGE = (
    Contradiction(
        "sampling rule",
        lambda model, losses: bool(model.roi_sampler.contradiction),
        "task.model.roi_sampler: {task.model.roi_sampler.contradiction}",
    ),
    Contradiction(
        "empty RoIs",
        lambda model, losses: model.clip_to_image and model.roi_sampler.is_stock,
        "task.model.clip_to_image is true with Model Garden's RoI sampler, which takes "
        "RoIs that the border of the picture leaves no area for background: set "
        "task.model.roi_sampler.ignore_padding to true, choose other positives or "
        "negatives, or set task.model.clip_to_image to false",
    ),
    Contradiction(
        "parts for masks",
        lambda model, losses: (
            model.include_mask
            and None in (model.mask_head, model.mask_sampler, model.mask_roi_aligner)
        ),
        "task.model.include_mask is true, but task.model.mask_head, mask_sampler or "
        "mask_roi_aligner is null: use an experiment of Mask R-CNN",
    ),
    Contradiction(
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
    Contradiction(
        "levels of RoIs",
        lambda model, losses: (
            model.roi_aligner.is_reference
            and model.roi_aligner.max_level < model.min_level
        ),
        "task.model.roi_aligner.max_level is {task.model.roi_aligner.max_level}, below "
        "task.model.min_level, {task.model.min_level}",
    ),
    Contradiction(
        "a stock cascade",
        lambda model, losses: (
            bool(model.roi_sampler.cascade_iou_thresholds)
            and not (
                model.roi_sampler.is_stock
                and losses.has_stock_divisors
                and losses.box.is_stock
            )
        ),
        "task.model.roi_sampler.cascade_iou_thresholds: cascade heads work with Model "
        "Garden's own sampler, normaliser and box loss only",
    ),
    Contradiction(
        "class losses of Model Garden",
        lambda model, losses: (
            not losses.has_stock_divisors and not losses.is_plain_classification
        ),
        "task.losses: frcnn_class_loss_top_k_percent, class_weights and "
        "frcnn_class_use_binary_cross_entropy belong to normalizer 'tfm'",
    ),
    Contradiction(
        "thresholds of RetinaNet",
        lambda model, losses: model.prior.sets_thresholds,
        "task.model.prior.score_threshold is {task.model.prior.score_threshold!r}; it "
        "is for RetinaNet. For the R-CNN head set "
        "task.model.detection_generator.pre_nms_score_threshold",
    ),
    Contradiction(
        "divisor of all anchors",
        lambda model, losses: (
            model.rpn_sampler.negatives == "all" and losses.has_stock_divisors
        ),
        "task.model.rpn_sampler.negatives is 'all', but task.losses.normalizer is "
        "'tfm', which divides the sum over all anchors by the number of RoIs; choose "
        "'positives' or 'reference'",
    ),
    Contradiction(
        "divisor of all RoIs",
        lambda model, losses: (
            model.roi_sampler.negatives == "all" and losses.normalizer == "reference"
        ),
        "task.model.roi_sampler.negatives is 'all', but task.losses.normalizer is "
        "'reference': divided by all RoIs, the box loss would all but vanish; choose "
        "'positives'",
    ),
    Contradiction(
        "no bound on all anchors",
        lambda model, losses: (
            model.rpn_sampler.negatives == "all" and model.rpn_sampler.neg_pos_ub > 0
        ),
        "task.model.rpn_sampler.neg_pos_ub is {task.model.rpn_sampler.neg_pos_ub}, a "
        "bound on negatives, but task.model.rpn_sampler.negatives is 'all'",
    ),
    Contradiction(
        "instances for ISR",
        lambda model, losses: losses.isr.enabled and model.roi_sampler.is_stock,
        "task.losses.isr.enabled is true with Model Garden's RoI sampler, which does "
        "not tell objects apart: set task.model.roi_sampler.ignore_padding to true, or "
        "choose other positives or negatives",
    ),
    Contradiction(
        "a class loss with weights",
        lambda model, losses: (
            losses.has_stock_divisors
            and (losses.isr.enabled or model.roi_sampler.negatives == "score_ranked")
        ),
        "task.losses.normalizer is 'tfm': Model Garden's class loss takes no weights, "
        "which ISR sets; choose 'reference' or 'positives'",
    ),
    Contradiction(
        "softmax of residual objectness",
        lambda model, losses: (
            model.objectness.is_residual
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
    Contradiction(
        "a normaliser for CARL",
        lambda model, losses: losses.carl.weight > 0 and losses.has_stock_divisors,
        "task.losses.normalizer is 'tfm'; CARL needs 'reference' or 'positives'",
    ),
    Contradiction(
        "no outer boxes",
        lambda model, losses: (
            model.outer_boxes_scale > 1.0
            and (losses.isr.enabled or model.roi_sampler.rule.is_mined)
        ),
        "task.model.outer_boxes_scale is above 1; ISR, and samplers that look at the "
        "head's answer, do not know outer boxes",
    ),
)
