"""Input pipelines whose random operations draw in one order."""

from __future__ import annotations

import tensorflow as tf


def one_by_one(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Makes the random operations of a pipeline draw in one order.

    Model Garden augments images and samples anchors with stateful operations in
    parallel calls, which draw in the order in which they happen to run. Without tuning,
    tf.data makes as many calls at a time as its pool has threads; here that is one.
    (`tf.config.experimental.enable_op_determinism` is no way: under it XLA refuses the
    gradient of max pooling, and the rewritten pipeline of RetinaNet does not open.)
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    return dataset.with_options(options)
