"""`libra_retinanet_resnetfpn_coco`."""

from __future__ import annotations

from official.core import exp_factory
from official.vision.configs import backbones, common
from official.vision.configs import retinanet as tfm_retinanet

from libra_tf.experiments import (
    backbone_config,
    loss_config,
    model_config,
    schedule,
    task_config,
)


@exp_factory.register_config_factory("libra_retinanet_resnetfpn_coco")
def libra_retinanet_resnetfpn_coco() -> task_config.ExperimentConfig:
    """Libra RetinaNet on COCO: balanced feature pyramid and balanced L1 loss."""
    model = model_config.RetinaNet(
        num_classes=0,  # taken from the data set
        # See `libra_maskrcnn_model`: one padded input of fixed size.
        input_size=[1024, 1024, 3],
        min_level=3,
        max_level=7,
        backbone=backbone_config.Backbone(
            type="resnet",
            resnet=backbones.ResNet(model_id=50, bn_trainable=False),
        ),
        frozen_stages=1,  # released configs
        clip_to_image=True,
        # Released configs: levels 3 to 7, integrated at level 4.
        neck=model_config.Neck(
            type="balanced_feature_pyramid", refine="non_local", refine_level=4
        ),
        norm_activation=common.NormActivation(use_sync_bn=True),
    )
    losses = loss_config.RetinaNetLosses(
        focal_loss_alpha=0.25,
        focal_loss_gamma=2.0,  # focal loss paper; Model Garden has 1.5
        l2_weight_decay=1e-4,  # released config
        # Released config: beta 0.11. Its loss is not differentiable at 0 when beta is
        # not 1; "reference" reproduces the published 37.6 AP.
        box=loss_config.RetinaNetBoxLoss(
            type="balanced_l1",
            weight=1.0,
            alpha=0.5,
            gamma=1.5,
            beta=0.11,
            form="reference",
        ),
        normalizer="reference",
    )
    return schedule.experiment(
        "libra_retinanet_resnetfpn_coco",
        task_config.RetinaNetTask(model=model, losses=losses),
        tfm_retinanet.Parser(
            aug_rand_hflip=True,
            # Released configs: ignore anchors with IoU in [0.4, 0.5).
            match_threshold=0.5,
            unmatched_threshold=0.4,
        ),
        learning_rate=0.01,  # released config
    )
