"""The Faster and Mask R-CNN task."""

from __future__ import annotations

import tf_keras
from official.core import task_factory
from official.vision.tasks import maskrcnn as tfm_task

from libra_tf.criteria.head_losses import Losses, Tensors
from libra_tf.criteria.rcnn import rcnn_losses, rpn_losses
from libra_tf.experiments import task_config
from libra_tf.inputs import rcnn as rcnn_inputs
from libra_tf.inputs.source_ids import labels_with_source_id
from libra_tf.models.class_bias import set_class_bias
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.ops.autograph import without_autograph
from libra_tf.ops.logits import logit
from libra_tf.tasks import prior
from libra_tf.tasks.evaluator import (
    build_evaluator,
    proposal_numbers,
    with_undefined,
)
from libra_tf.tasks.initialization import initialize_model, new_model


@without_autograph("build_model", "build_inputs", "train_step", "validation_step")
@task_factory.register_task_cls(task_config.MaskRCNNTask)
class LibraMaskRCNNTask(tfm_task.MaskRCNNTask):
    """Model Garden's task with our model, labels, losses and evaluator.

    With every switch off, outputs and losses equal Model Garden's.
    """

    def build_model(self) -> tf_keras.Model:
        """Builds the detector and its weights."""
        model = new_model(self.task_config, build_maskrcnn)
        # Its parts have their weights: a call on symbolic inputs, as Model Garden makes
        # it, would add none, and take twice as long as all of the above.
        model.built = True
        return model

    def initialize(self, model: tf_keras.Model) -> None:
        """Sets the RPN's prior and loads `init_checkpoint` over it.

        The account of what was loaded is kept in `restore_report`.
        """
        config = self.task_config.model.prior
        if config.from_data:
            set_class_bias(model.rpn_head, self._measure_prior().bias)
        elif config.value is not None:
            set_class_bias(model.rpn_head, logit(config.value))
        self.restore_report = initialize_model(self.task_config, model)

    def _measure_prior(self) -> prior.AnchorPrior:
        data = prior.one_pass(self.task_config.train_data)
        dataset = rcnn_inputs.labelled(
            self.task_config,
            rcnn_inputs.with_every_anchor(data),
            stock=super().build_inputs,
        )
        return prior.prior_of_task(self, dataset, prior.count_rpn, kind="rpn")

    def build_inputs(self, params, input_context=None, dataset_fn=None):
        """Returns Model Garden's input pipeline with our choice of anchors."""
        with labels_with_source_id():
            return rcnn_inputs.build_inputs(
                self.task_config,
                params,
                input_context,
                dataset_fn,
                stock=super().build_inputs,
            )

    def _build_rpn_losses(self, outputs: Tensors, labels: Tensors) -> Losses:
        stock = super()._build_rpn_losses
        return rpn_losses(outputs, labels, self.task_config.losses, stock=stock)

    def _build_frcnn_losses(self, outputs: Tensors, labels: Tensors) -> Losses:
        stock = super()._build_frcnn_losses
        return rcnn_losses(outputs, labels, self.task_config.losses, stock=stock)

    def weighted_losses(self, outputs: Tensors, labels: Tensors) -> dict[str, Losses]:
        """Class and box loss of the RPN and the R-CNN head, as they are in the total.

        Args:
            outputs: of the model, in training.
            labels: of the input pipeline.

        Returns:
            `rpn` and `roi`, with their weights.
        """
        losses = self.task_config.losses
        rpn = Losses(*self._build_rpn_losses(outputs, labels))
        roi = Losses(*self._build_frcnn_losses(outputs, labels))
        return {
            "rpn": rpn.scaled(losses.rpn_score_weight, losses.rpn_box_weight),
            "roi": roi.scaled(losses.frcnn_class_weight, losses.frcnn_box_weight),
        }

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

    def _update_metrics(self, labels: Tensors, outputs: Tensors, logs: dict) -> None:
        super()._update_metrics(labels, outputs, logs)
        if self.task_config.use_coco_metrics and self.task_config.evaluate_proposals:
            predictions = logs[self.coco_metric.name][1]
            predictions["proposals"] = outputs["proposals"]

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        """Returns the metrics of an evaluation."""
        logs = super().reduce_aggregated_logs(aggregated_logs, global_step)
        return with_undefined(logs, self.task_config.model.include_mask)
