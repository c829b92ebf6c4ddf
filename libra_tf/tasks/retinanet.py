"""The RetinaNet task."""

from __future__ import annotations

import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision.losses import focal_loss, loss_utils
from official.vision.tasks import retinanet as tfm_task

from libra_tf.experiments import task_config
from libra_tf.models.retinanet import build_retinanet
from libra_tf.tasks.box_regression import elementwise_box_loss
from libra_tf.tasks.evaluation import build_evaluator, with_undefined
from libra_tf.tasks.initialization import initialize_model
from libra_tf.tasks.labels import fill_replicas
from libra_tf.tasks.normalizer import count_at_least_one, replica_mean
from libra_tf.tasks.regularizer import l2_regularizer


@task_factory.register_task_cls(task_config.RetinaNetTask)
class LibraRetinaNetTask(tfm_task.RetinaNetTask):
    """Model Garden's task with our model, losses and evaluator.

    With every switch off, outputs and losses equal Model Garden's.
    """

    def build_model(self) -> tf_keras.Model:
        """Builds the detector and its weights."""
        config = self.task_config.model
        model = build_retinanet(
            tf_keras.layers.InputSpec(shape=[None, *config.input_size]),
            config,
            l2_regularizer(self.task_config.losses.l2_weight_decay),
        )
        if self.task_config.freeze_backbone:
            model.backbone.trainable = False
        return model

    def initialize(self, model: tf_keras.Model) -> None:
        """Loads `init_checkpoint`; the account is kept in `restore_report`."""
        self.restore_report = initialize_model(self.task_config, model)

    def build_inputs(self, params, input_context=None):
        """Returns Model Garden's input pipeline, complete for every replica."""
        dataset = super().build_inputs(params, input_context)
        return dataset if params.is_training else fill_replicas(dataset, input_context)

    def build_losses(self, outputs, labels, aux_losses=None):
        """Returns the total, class, box and model loss, as Model Garden's task."""
        config = self.task_config.losses
        if config.normalizer == "tfm" and config.box.type == "huber":
            return super().build_losses(outputs, labels, aux_losses)
        normalizer = self._normalizer(labels["box_weights"])
        class_loss = self._class_loss(outputs, labels) / normalizer
        box_loss, weight = self._box_loss(outputs, labels)
        box_loss = box_loss / normalizer
        model_loss = class_loss + weight * box_loss
        total_loss = model_loss + (tf.reduce_sum(aux_losses) if aux_losses else 0.0)
        return config.loss_weight * total_loss, class_loss, box_loss, model_loss

    def _normalizer(self, box_weights: tf.Tensor) -> tf.Tensor:
        """Positives: of this replica plus one, or of all replicas, see the config."""
        if self.task_config.losses.normalizer == "tfm":
            return tf.reduce_sum(box_weights) + 1.0
        return replica_mean(count_at_least_one(box_weights > 0))

    def _class_loss(self, outputs, labels) -> tf.Tensor:
        """Sum of the focal loss over all anchors that are not ignored."""
        losses, num_classes = (
            self.task_config.losses,
            self.task_config.model.num_classes,
        )
        focal = focal_loss.FocalLoss(
            alpha=losses.focal_loss_alpha,
            gamma=losses.focal_loss_gamma,
            reduction=tf_keras.losses.Reduction.SUM,
        )
        targets = loss_utils.multi_level_flatten(labels["cls_targets"], last_dim=None)
        logits = loss_utils.multi_level_flatten(
            outputs["cls_outputs"], last_dim=num_classes
        )
        return focal(
            y_true=tf.one_hot(targets, num_classes),
            y_pred=tf.cast(logits, tf.float32),
            sample_weight=labels["cls_weights"],
        )

    def _box_loss(self, outputs, labels) -> tuple[tf.Tensor, float]:
        """Sum of the box loss over the positive anchors, and its weight."""
        losses = self.task_config.losses
        y_true = loss_utils.multi_level_flatten(labels["box_targets"], last_dim=4)
        y_pred = loss_utils.multi_level_flatten(outputs["box_outputs"], last_dim=4)
        if losses.box.type == "huber":
            huber = tf_keras.losses.Huber(
                losses.huber_loss_delta, reduction=tf_keras.losses.Reduction.SUM
            )
            total = huber(y_true, y_pred, sample_weight=labels["box_weights"])
            return total, losses.box_loss_weight
        # Selected before the loss, see `rcnn_box_loss`.
        positive = (labels["box_weights"] > 0)[..., tf.newaxis]
        errors = elementwise_box_loss(losses.box)(
            tf.where(positive, y_true, tf.zeros_like(y_true)),
            tf.where(positive, y_pred, tf.zeros_like(y_pred)),
        )
        return tf.reduce_sum(errors), losses.box.weight

    def build_metrics(self, training: bool = True):
        """Returns Model Garden's loss metrics; the evaluator is ours."""
        metrics = super().build_metrics(training=True)
        if not training and self.task_config.use_coco_metrics:
            self.coco_metric = build_evaluator(self.task_config, include_mask=False)
        return metrics

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        """Returns the metrics of an evaluation."""
        return with_undefined(
            super().reduce_aggregated_logs(aggregated_logs, global_step)
        )
