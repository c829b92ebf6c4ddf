"""`libra_fasterrcnn_resnetfpn_coco` and `libra_maskrcnn_resnetfpn_coco`."""

from __future__ import annotations

from official.core import exp_factory
from official.vision.configs import backbones, common
from official.vision.configs import maskrcnn as tfm_maskrcnn

from libra_tf.experiments import (
    backbone_config,
    loss_config,
    model_config,
    reference_config,
    sampler_config,
    schedule,
    task_config,
)


def libra_maskrcnn_model(include_mask: bool) -> model_config.MaskRCNN:
    """Returns the detector of Libra R-CNN (paper, sections 3 and 4.2)."""
    model = model_config.MaskRCNN(
        # 0: taken from the data set.
        num_classes=0,
        # The paper resizes to 1333x800. Model Garden pads to one fixed size;
        # 1024x1024 holds about as many pixels of a 4:3 image.
        input_size=[1024, 1024, 3],
        include_mask=include_mask,
        backbone=backbone_config.Backbone(
            type="resnet",
            # Released configs: BatchNorm of the backbone stays as on ImageNet.
            resnet=backbones.ResNet(model_id=50, bn_trainable=False),
        ),
        frozen_stages=1,  # released configs
        clip_to_image=True,
        # Section 3.2, non-local refinement of C4; all levels of the FPN as released.
        neck=model_config.Neck(
            type="balanced_feature_pyramid", refine="non_local", refine_level=4
        ),
        # Released configs: at most five negatives per positive in the RPN.
        rpn_sampler=sampler_config.RPNSampler(neg_pos_ub=5.0),
        # Two thousand proposals in training, as in the 2019 configs: a sampler needs
        # candidates to choose from. One thousand in evaluation.
        roi_generator=reference_config.ROIGenerator(
            num_proposals=2000, test_num_proposals=1000
        ),
        # Section 3.1: 512 RoIs, a quarter foreground, K = 3 bins, positives shared
        # equally among the instances.
        roi_sampler=sampler_config.ROISampler(
            positives="instance_balanced",
            negatives="iou_balanced",
            num_bins=3,
            ignore_padding=True,
        ),
        # Released configs: two shared fully connected layers, no convolution.
        detection_head=reference_config.DetectionHead(num_convs=0, num_fcs=2),
        norm_activation=common.NormActivation(
            norm_momentum=0.997, norm_epsilon=0.0001, use_sync_bn=True
        ),
    )
    if not include_mask:
        model.mask_head = model.mask_sampler = model.mask_roi_aligner = None
    return model


def libra_maskrcnn_experiment(
    name: str, include_mask: bool
) -> task_config.ExperimentConfig:
    """Returns the experiment with the paper's settings on COCO."""
    task = task_config.MaskRCNNTask(
        model=libra_maskrcnn_model(include_mask),
        losses=loss_config.MaskRCNNLosses(
            # mmdetection's weight decay of SGD, which the released configs inherit.
            l2_weight_decay=1e-4,
            # Section 3.3: alpha 0.5, gamma 1.5; beta 1 in the RoI head.
            box=loss_config.BoxLoss(
                type="balanced_l1", weight=1.0, alpha=0.5, gamma=1.5, beta=1.0
            ),
            # neg_pos_ub makes the number of anchors vary: divide by what was sampled,
            # not by a constant.
            normalizer="reference",
        ),
    )
    return schedule.experiment(
        name,
        task,
        # Section 4.2: horizontal flips only.
        tfm_maskrcnn.Parser(aug_rand_hflip=True),
        learning_rate=0.02,  # paper, section 4.2
    )


@exp_factory.register_config_factory("libra_fasterrcnn_resnetfpn_coco")
def libra_fasterrcnn_resnetfpn_coco() -> task_config.ExperimentConfig:
    """Libra Faster R-CNN on COCO."""
    return libra_maskrcnn_experiment("libra_fasterrcnn_resnetfpn_coco", False)


@exp_factory.register_config_factory("libra_maskrcnn_resnetfpn_coco")
def libra_maskrcnn_resnetfpn_coco() -> task_config.ExperimentConfig:
    """Libra R-CNN's box branch with the stock mask branch, on COCO."""
    return libra_maskrcnn_experiment("libra_maskrcnn_resnetfpn_coco", True)
