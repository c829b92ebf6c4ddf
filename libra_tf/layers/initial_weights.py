"""Initial weights that depend on a seed and a name, not on the order of creation."""

from __future__ import annotations

import random

import tf_keras


def seeded(
    initializer: str | tf_keras.initializers.Initializer, seed: int | None, name: str
) -> tf_keras.initializers.Initializer:
    """The initializer, drawing from `seed` and `name` alone.

    Keras takes the seed of every kernel from one global stream, so that an added layer
    changes all that are created after it.

    Args:
        initializer: anything that `tf_keras.initializers.get` takes.
        seed: None leaves it as it is. So does a seed, or no randomness, of its own.
        name: of the kernel, unique among those with the same seed.
    """
    initializer = tf_keras.initializers.get(initializer)
    if seed is None or not isinstance(initializer, tf_keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if config.get("seed", seed) is not None:
        return initializer
    return initializer.from_config({**config, "seed": derived_seed(seed, name)})


def derived_seed(seed: int | None, name: str) -> int | None:
    """A seed of its own for each name; None stays None.

    With seed + 1, seed + 2, ... neighbouring seeds would share kernels.
    """
    return None if seed is None else random.Random(f"{seed}/{name}").getrandbits(31)
