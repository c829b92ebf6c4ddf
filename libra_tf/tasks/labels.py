"""What happens to a batch of labels between the input pipeline and the model."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

LabelFn = Callable[..., dict]


def map_labels(
    dataset: tf.data.Dataset, transform: LabelFn, seed: int | None
) -> tf.data.Dataset:
    """Applies `transform(labels, seed=...)` to the labels of every batch.

    Args:
      dataset: batches of (images, labels).
      transform: gets the dict of labels and an integer tensor [2], another one for
        each batch, and returns a dict of labels.
      seed: makes the sequence of seeds reproducible; None draws another each run.

    Returns:
      A data set of the same structure.
    """
    seeds = tf.data.Dataset.random(seed=seed).batch(2, drop_remainder=True)

    def apply(batch, seed_pair):
        images, labels = batch
        return images, transform(labels, seed=seed_pair)

    return tf.data.Dataset.zip((dataset, seeds)).map(
        apply, num_parallel_calls=tf.data.AUTOTUNE
    )
