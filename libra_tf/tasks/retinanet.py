"""The RetinaNet task."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision.tasks import retinanet as tfm_task

from libra_tf.criteria.dense import dense_losses, needed_states
from libra_tf.criteria.dense_batch import States
from libra_tf.criteria.head_losses import Losses, Tensors
from libra_tf.experiments import task_config
from libra_tf.inputs import retinanet as retinanet_inputs
from libra_tf.inputs.source_ids import labels_with_source_id
from libra_tf.layers.running_state import RunningState, unchanged
from libra_tf.models.class_bias import set_class_bias
from libra_tf.models.retinanet import build_retinanet
from libra_tf.ops.autograph import without_autograph
from libra_tf.ops.logits import logit
from libra_tf.tasks import prior
from libra_tf.tasks.evaluator import build_evaluator, with_undefined
from libra_tf.tasks.initialization import initialize_model, new_model


@without_autograph("build_model", "build_inputs", "train_step", "validation_step")
@task_factory.register_task_cls(task_config.RetinaNetTask)
class LibraRetinaNetTask(tfm_task.RetinaNetTask):
    """Model Garden's task with our model, losses and evaluator.

    With every switch off, outputs and losses equal Model Garden's.
    """

    _states: Mapping[str, RunningState] = {}  # set with the model

    def build_model(self) -> tf_keras.Model:
        """Builds the detector and its weights."""
        model = new_model(self.task_config, build_retinanet)
        self._states = model.add_states(needed_states(self.task_config.losses))
        return model

    def initialize(self, model: tf_keras.Model) -> None:
        """Sets the prior and loads `init_checkpoint` over it.

        The account of what was loaded is kept in `restore_report`.
        """
        self._set_prior(model)
        self.restore_report = initialize_model(self.task_config, model)

    def _set_prior(self, model: tf_keras.Model) -> None:
        config = self.task_config.model.prior
        if config.from_data:
            measured = self._measure_prior()
            set_class_bias(model.head, measured.bias)
            if config.sets_thresholds:
                thresholds = measured.thresholds(config.score_threshold)
                model.detection_generator.class_thresholds.assign(thresholds)
        elif config.value is not None:
            set_class_bias(model.head, logit(config.value))

    def _measure_prior(self) -> prior.AnchorPrior:
        num_classes = self.task_config.model.num_classes
        return prior.prior_of_task(
            self,
            self.build_inputs(prior.one_pass(self.task_config.train_data)),
            functools.partial(prior.count_dense, num_classes=num_classes),
            kind="retinanet",
        )

    def build_inputs(self, params, input_context=None):
        """Returns Model Garden's input pipeline, complete for every replica."""
        with labels_with_source_id():
            return retinanet_inputs.build_inputs(
                self.task_config, params, input_context, stock=super().build_inputs
            )

    def build_losses(self, outputs, labels, aux_losses=None):
        """Returns the total, class, box and model loss, as Model Garden's task."""
        config = self.task_config.losses
        if config.is_stock:
            return super().build_losses(outputs, labels, aux_losses)
        losses = self._dense_losses(outputs, labels, self._states)
        model_loss = losses.total(config.box_weight)
        total = model_loss + (tf.reduce_sum(aux_losses) if aux_losses else 0.0)
        return config.loss_weight * total, *losses, model_loss

    def weighted_losses(self, outputs: Tensors, labels: Tensors) -> dict[str, Losses]:
        """Class and box loss as they are in the total, of labels of training.

        What losses keep from step to step is read and not changed.

        Args:
            outputs: of the model.
            labels: of the input pipeline.

        Returns:
            `anchors`, with its weights.
        """
        config = self.task_config.losses
        if config.is_stock:
            losses = Losses(*super().build_losses(outputs, labels)[1:3])
        else:
            losses = self._dense_losses(outputs, labels, unchanged(self._states))
        return {"anchors": losses.scaled(1.0, config.box_weight)}

    def _dense_losses(
        self, outputs: Tensors, labels: Tensors, states: States
    ) -> Losses:
        model = self.task_config.model
        return dense_losses(
            outputs,
            labels,
            self.task_config.losses,
            num_classes=model.num_classes,
            box_coder_weights=model.detection_generator.box_coder_weights,
            states=states,
            # Model Garden's validation computes losses too; only its labels hold these.
            training="groundtruths" not in labels,
        )

    def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
        """Returns Model Garden's loss metrics; the evaluator is ours."""
        metrics = super().build_metrics(training=True)
        if not training and self.task_config.use_coco_metrics:
            self.coco_metric = build_evaluator(self.task_config, include_mask=False)
        # The targets of losses need one size for all images.
        without_losses = not training and self.task_config.model.fits_each_image
        return [] if without_losses else metrics

    def validation_step(self, inputs, model, metrics=None):
        """Detects and computes losses; no losses where images have any size."""
        if not self.task_config.model.fits_each_image:
            return super().validation_step(inputs, model, metrics)
        images, labels = inputs
        outputs = model(
            images,
            anchor_boxes=labels["anchor_boxes"],
            image_shape=labels["image_info"][:, 1, :],
            training=False,
        )
        predictions = {k: v for k, v in outputs.items() if "detection" in k}
        predictions |= {
            "source_id": labels["groundtruths"]["source_id"],
            "image_info": labels["image_info"],
        }
        logs = {self.loss: tf.constant(0.0)}
        if self.task_config.use_coco_metrics:
            logs[self.coco_metric.name] = (labels["groundtruths"], predictions)
        return logs

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        """Returns the metrics of an evaluation."""
        return with_undefined(
            super().reduce_aggregated_logs(aggregated_logs, global_step)
        )
