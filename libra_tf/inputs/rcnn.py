"""The R-CNN's data: labels of the detector's anchors, and which of them train."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from official.vision.configs import maskrcnn as tfm_config
from official.vision.dataloaders import tf_example_decoder

from libra_tf.experiments import task_config
from libra_tf.inputs.anchor_choice import anchor_chooser
from libra_tf.inputs.labels import fill_replicas, map_labels
from libra_tf.inputs.padded_input import build_fitted_inputs, require_size
from libra_tf.inputs.parsers import AnchorParser
from libra_tf.inputs.picture import find_pictures
from libra_tf.inputs.records import read_records
from libra_tf.models.anchors import anchor_settings

# Model Garden's pipeline: settings of the data, context of the strategy, and what makes
# a data set of file names.
Stock = Callable[..., tf.data.Dataset]

# Larger than any anchor count: Model Garden keeps every anchor.
_EVERY_ANCHOR = 2**24

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


def build_inputs(
    task: task_config.MaskRCNNTask,
    params: tfm_config.DataConfig,
    input_context: tf.distribute.InputContext | None = None,
    pick_dataset: Callable | None = None,
    *,
    stock: Stock,
) -> tf.data.Dataset:
    """Returns batches of images and labels, read as Model Garden's task reads them.

    Args:
        task: settings of the task.
        params: settings of the data.
        input_context: of the strategy.
        pick_dataset: makes a data set of file names; by `params.file_type` if None.
        stock: Model Garden's pipeline, called with the three before.
    """
    if not params.is_training:
        if task.model.fits_each_image:
            dataset = build_fitted_inputs(task, params, input_context)
        else:
            dataset = labelled(task, params, input_context, pick_dataset, stock=stock)
        return fill_replicas(dataset, input_context)
    sampler, redraws = task.model.rpn_sampler, task.model.clip_to_image
    is_drawn = sampler.negatives == "random" and not redraws
    data = params if is_drawn else with_every_anchor(params)
    dataset = labelled(task, data, input_context, pick_dataset, stock=stock)
    choose = anchor_chooser(sampler, params.parser, redraws)
    return map_labels(dataset, choose, params.seed) if choose else dataset


def labelled(
    task: task_config.MaskRCNNTask,
    params: tfm_config.DataConfig,
    input_context: tf.distribute.InputContext | None = None,
    pick_dataset: Callable | None = None,
    *,
    stock: Stock,
) -> tf.data.Dataset:
    """Batches with labels of the detector's anchors; see `build_inputs`."""
    require_size(task.model)
    if task.model.anchor.is_reference:
        dataset = _read_own_anchors(task, params, input_context, pick_dataset)
    else:
        dataset = stock(params, input_context, pick_dataset)
    if task.model.clip_to_image:
        dataset = find_pictures(dataset)
    return dataset


def with_every_anchor(params: tfm_config.DataConfig) -> tfm_config.DataConfig:
    """The same settings of data, without a draw among the anchors."""
    parser = params.parser.replace(rpn_batch_size_per_im=_EVERY_ANCHOR)
    return params.replace(parser=parser)


def _read_own_anchors(
    task: task_config.MaskRCNNTask,
    params: tfm_config.DataConfig,
    input_context: tf.distribute.InputContext | None,
    pick_dataset: Callable | None,
) -> tf.data.Dataset:
    """Batches with labels of anchors of the form "reference"."""
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
