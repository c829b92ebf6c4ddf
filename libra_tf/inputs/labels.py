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


def fill_replicas(
    dataset: tf.data.Dataset, input_context: tf.distribute.InputContext | None
) -> tf.data.Dataset:
    """Repeats the first batch until every replica of the last step has one.

    A replica without a batch gets an empty one, on which convolutions fail. The
    evaluator counts an image once, however often it comes.

    Args:
        dataset: batches, each for one replica.
        input_context: of the strategy; None for a single replica.

    Returns:
        The batches, their number a multiple of the replicas that this pipeline feeds.
    """
    if input_context is None:
        return dataset
    replicas = input_context.num_replicas_in_sync // input_context.num_input_pipelines
    if replicas < 2:
        return dataset
    padded = dataset.concatenate(dataset.take(1).repeat(replicas - 1))
    # n + r - 1 batches hold ceil(n / r) whole windows of r.
    windows = padded.window(replicas, drop_remainder=True)
    return windows.flat_map(lambda *window: tf.data.Dataset.zip(window))
