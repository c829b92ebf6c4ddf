"""The R-CNN's data with the labels of the detector's own anchors."""

from __future__ import annotations

import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder

from libra_tf.experiments import task_config
from libra_tf.inputs.parsers import AnchorParser
from libra_tf.inputs.records import read_records
from libra_tf.models.anchors import anchor_settings


def build_inputs(
    task: task_config.MaskRCNNTask,
    params,
    input_context: tf.distribute.InputContext | None = None,
    pick_dataset=None,
) -> tf.data.Dataset:
    """Returns batches of images and labels, read as Model Garden's task reads them.

    Args:
        task: settings of the task, with anchors of the form "reference".
        params: settings of the data; records of Model Garden's simple decoder.
        input_context: of the strategy.
        pick_dataset: makes a data set of file names; by `params.file_type` if None.
    """
    decoder, model, parser = params.decoder.get(), task.model, params.parser
    parse = AnchorParser(
        anchors=anchor_settings(model),
        output_size=model.input_size[:2],
        max_level=model.max_level,
        anchor_size=model.anchor.anchor_size,
        include_mask=model.include_mask,
        outer_boxes_scale=model.outer_boxes_scale,
        dtype=params.dtype,
        **{name: getattr(parser, name) for name in _PARSER_SETTINGS},
    )
    decode = tf_example_decoder.TfExampleDecoder(
        include_mask=model.include_mask,
        regenerate_source_id=decoder.regenerate_source_id,
        mask_binarize_threshold=decoder.mask_binarize_threshold,
    ).decode
    parse_one = parse.parse_fn(params.is_training)
    return read_records(params, decode, parse_one, input_context, pick_dataset)


_PARSER_SETTINGS = (
    "rpn_match_threshold",
    "rpn_unmatched_threshold",
    "rpn_batch_size_per_im",
    "rpn_fg_fraction",
    "aug_rand_hflip",
    "aug_rand_vflip",
    "aug_scale_min",
    "aug_scale_max",
    "aug_type",
    "skip_crowd_during_training",
    "max_num_instances",
    "mask_crop_size",
)
