"""Scalars for TensorBoard outside of a training run."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from libra_tf.tasks.restore import checkpoint_step


def write_scalars(folder: str, checkpoint: str, values: Mapping[str, float]) -> None:
    """Writes TensorBoard events to `folder` at the step of `checkpoint`."""
    writer = tf.summary.create_file_writer(folder)
    with writer.as_default(step=checkpoint_step(checkpoint)):
        for name, value in values.items():
            tf.summary.scalar(name, value)
    writer.close()
