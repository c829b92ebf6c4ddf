"""The Faster and Mask R-CNN task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision.tasks import maskrcnn as tfm_task

from libra_tf.criteria import rcnn_pisa as rcnn_importance
from libra_tf.criteria import rcnn_terms as rcnn_losses
from libra_tf.criteria.box import elementwise_box_loss
from libra_tf.criteria.normalizer import guided_class_loss
from libra_tf.experiments import task_config
from libra_tf.inputs import rcnn as maskrcnn_inputs
from libra_tf.inputs.anchor_choice import anchor_chooser
from libra_tf.inputs.labels import fill_replicas, map_labels
from libra_tf.inputs.padded_input import build_fitted_inputs, require_size
from libra_tf.models.class_bias import set_class_bias
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.tasks import prior
from libra_tf.tasks.evaluator import (
    build_evaluator,
    proposal_numbers,
    with_undefined,
)
from libra_tf.tasks.initialization import initialize_model, l2_regularizer

# More than any pyramid has, half of it foreground: Model Garden then draws none away.
_EVERY_ANCHOR = 2**24


@task_factory.register_task_cls(task_config.MaskRCNNTask)
class LibraMaskRCNNTask(tfm_task.MaskRCNNTask):
    """Model Garden's task with our model, labels, losses and evaluator.

    With every switch off, outputs and losses equal Model Garden's.
    """

    def build_model(self) -> tf_keras.Model:
        """Builds the detector and its weights."""
        config = self.task_config.model
        model = build_maskrcnn(
            tf_keras.layers.InputSpec(shape=[None, *config.built_size]),
            config,
            l2_regularizer(self.task_config.losses.l2_weight_decay),
            seed=self.task_config.seed,
        )
        if self.task_config.freeze_backbone:
            model.backbone.trainable = False
        # A first call on symbolic inputs creates the weights.
        model(
            tf_keras.Input(config.built_size),
            image_shape=tf_keras.Input([2]),
            training=False,
        )
        return model

    def initialize(self, model: tf_keras.Model) -> None:
        """Sets the RPN's prior and loads `init_checkpoint` over it.

        The account of what was loaded is kept in `restore_report`.
        """
        config = self.task_config.model.prior
        if config.from_data:
            data = prior.one_pass(self.task_config.train_data)
            data = self._with_every_anchor(data)
            dataset = self._labelled(data)
            measured = prior.prior_of_task(self, dataset, prior.count_rpn, kind="rpn")
            set_class_bias(model.rpn_head, measured.bias)
        elif config.value is not None:
            set_class_bias(model.rpn_head, prior.bias_of(config.value))
        self.restore_report = initialize_model(self.task_config, model)

    def build_inputs(self, params, input_context=None, dataset_fn=None):
        """Adds our choice of anchors to Model Garden's input pipeline."""
        sampler = self.task_config.model.rpn_sampler
        if not params.is_training:
            if self.task_config.model.fits_each_image:
                dataset = build_fitted_inputs(self.task_config, params, input_context)
            else:
                dataset = self._labelled(params, input_context, dataset_fn)
            return fill_replicas(dataset, input_context)
        data = params
        if sampler.negatives != "random":
            data = self._with_every_anchor(params)
        dataset = self._labelled(data, input_context, dataset_fn)
        choose = anchor_chooser(sampler, params.parser)
        return map_labels(dataset, choose, params.seed) if choose else dataset

    def _labelled(self, params, input_context=None, dataset_fn=None):
        """Model Garden's input pipeline, with labels of the detector's anchors."""
        require_size(self.task_config.model)
        if self.task_config.model.anchor.form == "reference":
            return maskrcnn_inputs.build_inputs(
                self.task_config, params, input_context, dataset_fn
            )
        return super().build_inputs(params, input_context, dataset_fn)

    @staticmethod
    def _with_every_anchor(params):
        """The same settings of data, without a draw among the anchors."""
        parser = params.parser.replace(rpn_batch_size_per_im=_EVERY_ANCHOR)
        return params.replace(parser=parser)

    def _build_rpn_losses(self, outputs, labels) -> tuple[tf.Tensor, tf.Tensor]:
        losses = self.task_config.losses
        if losses.normalizer == "tfm":
            score_loss, box_loss = super()._build_rpn_losses(outputs, labels)
        else:
            score_loss, box_loss = rcnn_losses.rpn_losses(
                outputs["rpn_scores"],
                outputs["rpn_boxes"],
                labels["rpn_score_targets"],
                labels["rpn_box_targets"],
                beta=losses.rpn_huber_loss_delta,
                normalizer=losses.normalizer,
            )
        if losses.guided.enabled:
            weighted = losses.rpn_box_weight * box_loss
            score_loss = guided_class_loss(score_loss, weighted, losses.guided.factor)
        return score_loss, box_loss

    def _build_frcnn_losses(self, outputs, labels) -> tuple[tf.Tensor, tf.Tensor]:
        losses = self.task_config.losses
        class_loss = box_loss = None
        if losses.normalizer == "tfm" or losses.box.type == "huber":
            class_loss, box_loss = super()._build_frcnn_losses(outputs, labels)
        if losses.normalizer != "tfm":
            class_loss = self._class_loss(outputs)
        if losses.box.type != "huber":
            box_loss = self._box_loss(outputs)
        if losses.guided.enabled:
            weighted = losses.frcnn_box_weight * box_loss
            factor = losses.guided.roi_factor
            class_loss = guided_class_loss(class_loss, weighted, factor)
        return class_loss, box_loss

    def _class_loss(self, outputs) -> tf.Tensor:
        weights = None
        # Model Garden's sampler gives no weights, and no instances for ISR-P.
        if "class_weights" in outputs:
            weights = rcnn_importance.roi_class_weights(
                outputs, self.task_config.losses.isr
            )
        return rcnn_losses.rcnn_class_loss(
            outputs["class_outputs"], outputs["class_targets"], weights
        )

    def _box_loss(self, outputs) -> tf.Tensor:
        losses = self.task_config.losses
        elementwise = elementwise_box_loss(losses.box)
        box_loss = rcnn_losses.rcnn_box_loss(
            outputs["box_outputs"],
            outputs["class_targets"],
            outputs["box_targets"],
            elementwise=elementwise,
            normalizer=losses.normalizer,
        )
        if losses.carl.weight:
            box_loss += rcnn_importance.carl_loss(
                outputs, losses.carl, elementwise, losses.normalizer
            )
        return losses.box.weight * box_loss

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
