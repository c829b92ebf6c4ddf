"""Scalars for TensorBoard outside of a training run."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def write_scalars(folder: str, step: int, values: Mapping[str, float]) -> None:
    """Writes TensorBoard events to `folder` at a training step."""
    writer = tf.summary.create_file_writer(folder)
    with writer.as_default(step=step):
        for name, value in values.items():
            tf.summary.scalar(name, value)
    writer.close()
