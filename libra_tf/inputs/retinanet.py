"""RetinaNet's data with labels that Model Garden's own pipeline has not."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from official.vision.configs import retinanet as tfm_config
from official.vision.dataloaders import tf_example_decoder

from libra_tf.experiments import task_config
from libra_tf.inputs.labels import fill_replicas
from libra_tf.inputs.padded_input import build_fitted_inputs, require_size
from libra_tf.inputs.parsers import DenseInstanceParser, DenseParser, InstanceParser
from libra_tf.inputs.picture import find_pictures
from libra_tf.inputs.records import read_records
from libra_tf.models.anchors import anchor_settings

# Model Garden's pipeline, of the settings of the data and the context of the strategy.
Stock = Callable[..., tf.data.Dataset]

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


def build_inputs(
    task: task_config.RetinaNetTask,
    params: tfm_config.DataConfig,
    input_context: tf.distribute.InputContext | None = None,
    *,
    stock: Stock,
) -> tf.data.Dataset:
    """Returns batches of images and labels, read as Model Garden's task reads them.

    Args:
        task: settings of the task.
        params: settings of the data.
        input_context: of the strategy.
        stock: Model Garden's pipeline, called with the two before.
    """
    if not params.is_training and task.model.fits_each_image:
        dataset = build_fitted_inputs(task, params, input_context)
    else:
        dataset = _labelled(task, params, input_context, stock)
    return dataset if params.is_training else fill_replicas(dataset, input_context)


def _labelled(
    task: task_config.RetinaNetTask,
    params: tfm_config.DataConfig,
    input_context: tf.distribute.InputContext | None,
    stock: Stock,
) -> tf.data.Dataset:
    require_size(task.model)
    isr = task.losses.isr.enabled and params.is_training
    if isr or task.model.anchor.is_reference:
        dataset = _read_own_labels(task, params, input_context)
    else:
        dataset = stock(params, input_context)
    if task.model.clip_to_image:
        dataset = find_pictures(dataset)
    return dataset


def _read_own_labels(
    task: task_config.RetinaNetTask,
    params: tfm_config.DataConfig,
    input_context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """Batches with the objects of the anchors, or labels of anchors of our own."""
    decoder = params.decoder.get()
    model, anchor, parser = task.model, task.model.anchor, params.parser
    instances = task.losses.isr.enabled and params.is_training
    kind, own = InstanceParser, {}
    if anchor.is_reference:
        kind = DenseInstanceParser if instances else DenseParser
        own = {"anchors": anchor_settings(model)}
    parse = kind(
        output_size=model.input_size[:2],
        min_level=model.min_level,
        max_level=model.max_level,
        num_scales=anchor.num_scales,
        aspect_ratios=anchor.aspect_ratios,
        anchor_size=anchor.anchor_size,
        box_coder_weights=model.detection_generator.box_coder_weights,
        dtype=params.dtype,
        **own,
        **{name: getattr(parser, name) for name in _PARSER_SETTINGS},
    )
    decode = tf_example_decoder.TfExampleDecoder(
        regenerate_source_id=decoder.regenerate_source_id,
        attribute_names=decoder.attribute_names,
    ).decode
    parse_one = parse.parse_fn(params.is_training)
    return read_records(params, decode, parse_one, input_context)
