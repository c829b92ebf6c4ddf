"""Detectors and data small enough to train in a test."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import task_factory

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.data.convert import convert
from libra_tf.data.layout import layout_sources
from libra_tf.data.synthesize import synthesize
from libra_tf.experiments.saved import (
    PARAMS_FILE,
    dump_params,
    get_experiment,
    load_experiment,
    override,
)
from libra_tf.training.prepare import prepare

SIZE = 64
# What a line of metrics.jsonl tells of the machine, and two equal runs do not share.
MEASURED = ("examples_per_second", "seconds", "data_wait_share", "peak_memory_gib")
KINDS = ("fasterrcnn", "maskrcnn", "retinanet")

_BACKBONE = {"resnet": {"model_id": 10, "depth_multiplier": 0.25}}
_MODEL = {
    "input_size": [SIZE, SIZE, 3],
    "num_classes": 4,
    "max_level": 5,
    "backbone": _BACKBONE,
    "decoder": {"fpn": {"num_filters": 16}},
    "norm_activation": {
        "norm_momentum": 0.9,
        "norm_epsilon": 0.001,
        "use_sync_bn": False,
    },
}
_RCNN = {
    "rpn_head": {"num_filters": 16},
    "detection_head": {"num_convs": 0, "num_fcs": 1, "fc_dims": 32},
    "roi_generator": {
        "pre_nms_top_k": 80,
        "num_proposals": 60,
        "test_pre_nms_top_k": 80,
        "test_num_proposals": 60,
    },
    "roi_sampler": {"num_sampled_rois": 32},
    "anchor": {"anchor_size": 4.0},
    "detection_generator": {"max_num_detections": 10, "pre_nms_top_k": 60},
}
_MASK = {
    "mask_head": {"num_convs": 1, "num_filters": 16},
    "mask_sampler": {"num_sampled_masks": 16},
}
_RETINANET = {
    "head": {"num_convs": 1, "num_filters": 16},
    "detection_generator": {"max_num_detections": 10, "pre_nms_top_k": 60},
}
# Every switch of ours, off.
SWITCHES_OFF = {
    "model": {"neck": {"type": "none"}, "frozen_stages": 0, "clip_to_image": False},
    "losses": {"box": {"type": "huber"}, "normalizer": "tfm"},
}
RCNN_SWITCHES_OFF = {
    "model": {
        "roi_sampler": {
            "positives": "random",
            "negatives": "random",
            "ignore_padding": False,
        },
        "rpn_sampler": {"neg_pos_ub": 0.0},
    }
}


def experiment(name: str, **sections):
    """Returns a registered experiment, shrunk; `sections` are further overrides."""
    params = get_experiment(name)
    shrink(params, name)
    for key, values in sections.items():
        override(params, {key: values}, "test")
    return params


def from_file(path: str):
    """Returns the experiment of a YAML file, shrunk: same methods, small sizes."""
    params = load_experiment(None, [path], [])
    shrink(params, params.experiment)
    return params


def shrink(params, name: str) -> None:
    """Makes an experiment small, from random weights, with hand-set classes."""
    model = dict(_MODEL)
    if "retinanet" in name:
        model |= _RETINANET
    else:
        model |= _RCNN
    if "maskrcnn" in name:
        model |= _MASK
    shrunk = {
        "runtime": {
            "distribution_strategy": "one_device",
            "num_gpus": 0,
            "mixed_precision_dtype": "float32",
            "enable_xla": False,
        },
        "task": {
            "model": model,
            "init_checkpoint": None,
            "annotation_file": None,
            "train_data": {
                "global_batch_size": 4,
                "dtype": "float32",
                "shuffle_buffer_size": 20,
                "parser": {"max_num_instances": 20},
            },
            "validation_data": {"global_batch_size": 4, "dtype": "float32"},
        },
        "trainer": {
            "train_steps": 4,
            "steps_per_loop": 2,
            "summary_interval": 2,
            "checkpoint_interval": 4,
            "validation_interval": 4,
        },
    }
    if name.startswith("libra"):
        shrunk["task"]["dataset"] = ""
        shrunk["task"]["model"]["frozen_stages"] = 0
        shrunk["task"]["model"]["backbone"]["resnet"]["bn_trainable"] = True
        shrunk["trainer"] |= {"reference_batch_size": 0, "seed": 1}
    override(params, shrunk, "tiny")


def dataset(folder, num_train: int = 12, num_val: int = 6) -> str:
    """Draws and converts shapes; returns the folder of records."""
    shapes, records = folder / "shapes", folder / "records"
    synthesize(shapes, num_train=num_train, num_val=num_val, size=SIZE, seed=3)
    for split, content, images in layout_sources(shapes):
        convert(content, images, records, split, quiet=True)
    return str(records)


def point_to(params, records: str) -> None:
    """Gives a stock experiment the files of a converted folder."""
    override(
        params,
        {
            "task": {
                "train_data": {"input_path": f"{records}/train-*.tfrecord"},
                "validation_data": {"input_path": f"{records}/val-*.tfrecord"},
                "annotation_file": f"{records}/val.json",
            }
        },
        "test",
    )


# Model Garden's own tasks are traced as they are written, as ours are.
@tf.autograph.experimental.do_not_convert
def build(params, seed: int = 1):
    """Returns task and model with weights that depend on `seed` only."""
    task = task_factory.get_task(params.task)
    tf_keras.utils.set_random_seed(seed)
    return task, task.build_model()


@tf.autograph.experimental.do_not_convert
def first_batch(task, data) -> tuple:
    """Returns one batch of a task's input pipeline, which needs no model."""
    return next(iter(task.build_inputs(data)))


def untrained_run(params, folder: pathlib.Path, step: int = 0) -> None:
    """Writes the folder of a run with weights that no training has made.

    Every weight is noise, the statistics of BatchNorm too, and counts are `step`, so
    that what is not restored shows.
    """
    with prepare(params).scope():
        _, model = build(params)
    rng = np.random.default_rng(8)
    for weight in model.weights:
        if weight.dtype.is_floating:
            noise, shift = rng.normal(0, (0.2, 0.01), (*weight.shape, 2)).T
            is_variance = "variance" in weight.name
            weight.assign(weight * np.exp(noise).T + (0 if is_variance else shift.T))
        else:
            weight.assign(step)
    checkpoint = tf.train.Checkpoint(
        model=model,
        global_step=tf.Variable(step, dtype=tf.int64),
        **model.checkpoint_items,
    )
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
    manager.save(checkpoint_number=step)
    (folder / PARAMS_FILE).write_text(dump_params(params))
