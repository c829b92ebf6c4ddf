"""The Faster and Mask R-CNN task."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision.tasks import maskrcnn as tfm_task

from libra_tf.experiments import task_config
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.samplers import limit_negatives
from libra_tf.tasks import rcnn_losses
from libra_tf.tasks.box_regression import elementwise_box_loss
from libra_tf.tasks.evaluation import (
    build_evaluator,
    proposal_numbers,
    with_undefined,
)
from libra_tf.tasks.initialization import initialize_model
from libra_tf.tasks.labels import fill_replicas, map_labels
from libra_tf.tasks.regularizer import l2_regularizer


@task_factory.register_task_cls(task_config.MaskRCNNTask)
class LibraMaskRCNNTask(tfm_task.MaskRCNNTask):
    """Model Garden's task with our model, labels, losses and evaluator.

    With every switch off, outputs and losses equal Model Garden's.
    """

    def build_model(self) -> tf_keras.Model:
        """Builds the detector and its weights."""
        config = self.task_config.model
        model = build_maskrcnn(
            tf_keras.layers.InputSpec(shape=[None, *config.input_size]),
            config,
            l2_regularizer(self.task_config.losses.l2_weight_decay),
        )
        if self.task_config.freeze_backbone:
            model.backbone.trainable = False
        # A first call on symbolic inputs creates the weights.
        model(
            tf_keras.Input(config.input_size),
            image_shape=tf_keras.Input([2]),
            training=False,
        )
        return model

    def initialize(self, model: tf_keras.Model) -> None:
        """Loads `init_checkpoint`; the account is kept in `restore_report`."""
        self.restore_report = initialize_model(self.task_config, model)

    def build_inputs(self, params, input_context=None, dataset_fn=None):
        """Adds the RPN's bound on negatives to Model Garden's input pipeline."""
        dataset = super().build_inputs(params, input_context, dataset_fn)
        if not params.is_training:
            return fill_replicas(dataset, input_context)
        ratio = self.task_config.model.rpn_sampler.neg_pos_ub
        if ratio:
            most = params.parser.rpn_batch_size_per_im
            bound = functools.partial(_bound_rpn_negatives, ratio=ratio, most=most)
            dataset = map_labels(dataset, bound, params.seed)
        return dataset

    def _build_rpn_losses(self, outputs, labels) -> tuple[tf.Tensor, tf.Tensor]:
        losses = self.task_config.losses
        if losses.normalizer == "tfm":
            return super()._build_rpn_losses(outputs, labels)
        return rcnn_losses.rpn_losses(
            outputs["rpn_scores"],
            outputs["rpn_boxes"],
            labels["rpn_score_targets"],
            labels["rpn_box_targets"],
            beta=losses.rpn_huber_loss_delta,
        )

    def _build_frcnn_losses(self, outputs, labels) -> tuple[tf.Tensor, tf.Tensor]:
        losses = self.task_config.losses
        class_loss = box_loss = None
        if losses.normalizer == "tfm" or losses.box.type == "huber":
            class_loss, box_loss = super()._build_frcnn_losses(outputs, labels)
        if losses.normalizer == "reference":
            class_loss = rcnn_losses.rcnn_class_loss(
                outputs["class_outputs"], outputs["class_targets"]
            )
        if losses.box.type != "huber":
            box_loss = losses.box.weight * rcnn_losses.rcnn_box_loss(
                outputs["box_outputs"],
                outputs["class_targets"],
                outputs["box_targets"],
                elementwise=elementwise_box_loss(losses.box),
                normalizer=losses.normalizer,
            )
        return class_loss, box_loss

    def _build_coco_metrics(self) -> None:
        self.coco_metric = build_evaluator(
            self.task_config,
            include_mask=self.task_config.model.include_mask,
            proposals=proposal_numbers(
                self.task_config.model.roi_generator.test_num_proposals
            )
            if self.task_config.evaluate_proposals
            else (),
        )

    def _update_metrics(
        self, labels: Mapping[str, Any], outputs: Mapping[str, Any], logs: dict
    ) -> None:
        super()._update_metrics(labels, outputs, logs)
        if self.task_config.use_coco_metrics and self.task_config.evaluate_proposals:
            predictions = logs[self.coco_metric.name][1]
            predictions["proposals"] = outputs["proposals"]

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        """Returns the metrics of an evaluation."""
        logs = super().reduce_aggregated_logs(aggregated_logs, global_step)
        return with_undefined(logs, self.task_config.model.include_mask)


def _bound_rpn_negatives(
    labels: dict, *, seed: tf.Tensor, ratio: float, most: int
) -> dict:
    targets = limit_negatives(labels["rpn_score_targets"], ratio, most=most, seed=seed)
    return {**labels, "rpn_score_targets": targets}
