"""Random keys and ranks: drawing without replacement as sorting.

Shape shorthand in this module:
    B: images in the batch.
    N: candidates per image.

The n smallest of independent random keys are a uniform draw of n; the n smallest of a
group, a uniform draw of n from that group.
"""

import tensorflow as tf

_KEY_BITS = 29  # leaves room for a second tier of keys below int32.max


def random_keys(candidates: tf.Tensor, count: int, seed: tf.Tensor) -> list[tf.Tensor]:
    """`count` independent [B, N] tensors of integers in [0, 2**_KEY_BITS).

    From raw bits: `tf.random.stateless_uniform` makes other floats from the same bits
    under XLA than outside it, and the same integers.
    """
    bits = tf.random.stateless_uniform(
        tf.concat([[count], tf.shape(candidates)], axis=0),
        seed=seed,
        minval=None,
        maxval=None,
        dtype=tf.uint32,
        alg="philox",
    )
    keys = tf.bitwise.right_shift(bits, tf.constant(32 - _KEY_BITS, tf.uint32))
    keys = tf.ensure_shape(tf.cast(keys, tf.int32), [count, *candidates.shape])
    return tf.unstack(keys, num=count)


def second_tier_unless(first: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Priorities that put the entries of `first` before all others, else by key."""
    return tf.where(first, keys, keys + 2**_KEY_BITS)


def smallest(
    priority: tf.Tensor, candidates: tf.Tensor, num_samples: int | tf.Tensor
) -> tf.Tensor:
    """Mask of the `num_samples` candidates of lowest priority value, per image."""
    last = float("inf") if priority.dtype.is_floating else priority.dtype.max
    priority = tf.where(candidates, priority, tf.constant(last, priority.dtype))
    # The inverse permutation of an order is the rank of each entry.
    ranks = tf.argsort(tf.argsort(priority, stable=True))
    wanted = per_image(num_samples, candidates)
    return tf.logical_and(candidates, ranks < wanted[:, tf.newaxis])


def rank_in_group(
    keys: tf.Tensor, groups: tf.Tensor, pool: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rank by key of each pool entry among its group, and the number of groups.

    Sorts by (group, key); then the rank is the distance to the first of the group.
    """
    groups = tf.cast(groups, tf.int32)
    groups = tf.where(pool, groups, groups.dtype.max)
    by_key = tf.argsort(keys, stable=True)
    by_group = tf.argsort(tf.gather(groups, by_key, batch_dims=1), stable=True)
    order = tf.gather(by_key, by_group, batch_dims=1)
    sorted_groups = tf.gather(groups, order, batch_dims=1)
    starts = tf.concat(
        [
            tf.ones_like(sorted_groups[:, :1], dtype=tf.bool),
            sorted_groups[:, 1:] != sorted_groups[:, :-1],
        ],
        axis=1,
    )
    size = tf.shape(keys)[1]
    position = tf.range(size)[tf.newaxis, :]
    start_positions = tf.sort(tf.where(starts, position, size))
    ordinal = tf.cumsum(tf.cast(starts, tf.int32), axis=1) - 1
    ranks = position - tf.gather(start_positions, ordinal, batch_dims=1)
    ranks = tf.gather(ranks, tf.argsort(order), batch_dims=1)
    filled = tf.logical_and(starts, sorted_groups != groups.dtype.max)
    return ranks, tf.reduce_sum(tf.cast(filled, tf.int32), axis=1)


def per_image(num_samples: int | tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """`num_samples` as int32 [B]."""
    num_samples = tf.cast(num_samples, tf.int32)
    if num_samples.shape.rank == 0:
        return tf.repeat(num_samples, tf.shape(candidates)[0])
    if not num_samples.shape.is_compatible_with(candidates.shape[:1]):
        raise ValueError(
            f"num_samples must be a number or have shape {candidates.shape[:1]}, one "
            f"value for each image of candidates {candidates.shape}, got "
            f"{num_samples.shape}"
        )
    return num_samples
