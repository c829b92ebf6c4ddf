"""Histograms for TensorBoard of heights that are known, not of samples."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram import metadata

from libra_tf.diagnostics.figures import Histogram


def write_histogram(tag: str, histogram: Histogram, step: int) -> None:
    """Writes a histogram to the summary writer in force.

    `tf.summary.histogram` draws its own bins from samples; these bins are given.

    Args:
        tag: its name.
        histogram: edges and heights.
        step: of training.
    """
    edges, heights = np.asarray(histogram.edges), np.asarray(histogram.heights)
    tensor = np.stack([edges[:-1], edges[1:], heights], axis=1).astype(np.float64)
    kind = tf.compat.v1.SummaryMetadata.FromString(
        metadata.create_summary_metadata(tag, None).SerializeToString()
    )
    tf.summary.write(tag, tensor, step=step, metadata=kind)
