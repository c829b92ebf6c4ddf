"""Divisors and ratios of losses that are right under several replicas."""

from __future__ import annotations

import tensorflow as tf

from libra_tf.losses.guided import guided


def replica_mean(count: tf.Tensor, minimum: float = 1.0) -> tf.Tensor:
    """Returns the mean of `count` over the replicas, at least `minimum`.

    Model Garden divides each replica's loss by the number of replicas R. Dividing a
    replica's sum by this mean therefore yields, added over the replicas,

        1/R sum_r S_r / (1/R sum_r C_r) = sum_r S_r / sum_r C_r,

    the quotient of one replica that holds the whole global batch.

    Args:
        count: scalar, the count of this replica.
        minimum: lower bound of the result, greater than 0.

    Returns:
        A float32 scalar without gradient.
    """
    count = tf.cast(count, tf.float32)
    context = tf.distribute.get_replica_context()
    mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, count)
    return tf.stop_gradient(tf.maximum(mean, minimum))


def replica_sum(count: tf.Tensor) -> tf.Tensor:
    """Returns the sum of `count` over the replicas, without gradient."""
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return tf.stop_gradient(total)


def guided_class_loss(
    class_loss: tf.Tensor, box_loss: tf.Tensor, factor: float
) -> tf.Tensor:
    """`losses.guided` with the ratio of the losses of all replicas together.

    The ratio of the means, not the mean of the replicas' ratios: it is the one of a
    single replica that holds the whole batch.
    """
    context = tf.distribute.get_replica_context()
    means = [
        context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stop_gradient(loss))
        for loss in (class_loss, box_loss)
    ]
    return guided(
        class_loss,
        box_loss,
        factor=factor,
        global_class_loss=means[0],
        global_box_loss=means[1],
    )


def count_at_least_one(mask: tf.Tensor) -> tf.Tensor:
    """Returns the sum over images of max(number of true entries, 1).

    Args:
        mask: [B, ...] bool.

    Returns:
        A float32 scalar.
    """
    per_image = tf.reduce_sum(
        tf.cast(tf.reshape(mask, [tf.shape(mask)[0], -1]), tf.float32), axis=1
    )
    return tf.reduce_sum(tf.maximum(per_image, 1.0))
