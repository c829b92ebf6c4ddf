"""RetinaNet's training data with the object that each anchor belongs to.

Model Garden's labels tell a positive anchor's class and box, not its object, which
ISR-P ranks within. Its labeler carries attributes of objects along to their anchors:
here the object's number is one.
"""

from __future__ import annotations

import tensorflow as tf
from official.common import dataset_fn
from official.vision.dataloaders import (
    input_reader,
    input_reader_factory,
    retinanet_input,
    tf_example_decoder,
)

from libra_tf.experiments import task_config
from libra_tf.tasks.dense import INSTANCE


class InstanceParser(retinanet_input.Parser):
    """Model Garden's parser; adds `attribute_targets[INSTANCE]` to the labels."""

    def _parse_train_data(self, data, anchor_labeler=None, input_anchor=None):
        count = tf.shape(data["groundtruth_classes"])[0]
        numbers = tf.cast(tf.range(count)[:, tf.newaxis], tf.float32)
        attributes = {**data.get("groundtruth_attributes", {}), INSTANCE: numbers}
        data = {**data, "groundtruth_attributes": attributes}
        return super()._parse_train_data(data, anchor_labeler, input_anchor)


def build_training_inputs(
    task: task_config.RetinaNetTask,
    params,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Returns batches of images and labels, read as Model Garden's task reads them.

    Args:
      task: settings of the task.
      params: settings of the training data; records of Model Garden's simple decoder.
      input_context: of the strategy.
    """
    decoder = params.decoder.get()
    model, anchor, parser = task.model, task.model.anchor, params.parser
    parse = InstanceParser(
        output_size=model.input_size[:2],
        min_level=model.min_level,
        max_level=model.max_level,
        num_scales=anchor.num_scales,
        aspect_ratios=anchor.aspect_ratios,
        anchor_size=anchor.anchor_size,
        box_coder_weights=model.detection_generator.box_coder_weights,
        dtype=params.dtype,
        **{name: getattr(parser, name) for name in _PARSER_SETTINGS},
    )
    reader = input_reader_factory.input_reader_generator(
        params,
        dataset_fn=dataset_fn.pick_dataset_fn(params.file_type),
        decoder_fn=tf_example_decoder.TfExampleDecoder(
            regenerate_source_id=decoder.regenerate_source_id,
            attribute_names=decoder.attribute_names,
        ).decode,
        combine_fn=input_reader.create_combine_fn(params),
        parser_fn=parse.parse_fn(params.is_training),
    )
    return reader.read(input_context=input_context)


_PARSER_SETTINGS = (
    "match_threshold",
    "unmatched_threshold",
    "aug_type",
    "aug_rand_hflip",
    "aug_rand_jpeg",
    "aug_scale_min",
    "aug_scale_max",
    "skip_crowd_during_training",
    "max_num_instances",
    "pad",
    "keep_aspect_ratio",
)
