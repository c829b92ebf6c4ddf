"""A training step whose weights stay as they were where a gradient is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None


def is_finite(tensors: Iterable[Gradient]) -> tf.Tensor:
    """Returns a boolean [n]: which of n tensors hold finite numbers only.

    What is None counts as finite. One pass over each tensor: its sum of squares is
    finite if its elements are, up to 1e19.
    """
    sums = []
    for tensor in tensors:
        if tensor is None:
            sums.append(tf.constant(0.0))
            continue
        values = tensor.values if isinstance(tensor, tf.IndexedSlices) else tensor
        sums.append(tf.nn.l2_loss(tf.cast(values, tf.float32)))
    return tf.math.is_finite(tf.stack(sums))


class GuardedOptimizer:
    """Stands for an optimizer within one call of a task's `train_step`.

    Gradients that are not finite are not applied: on one replica the optimizer then
    does nothing at all; on several, whose updates are summed, this one adds zeros.

    Attributes:
        finite: after `apply_gradients`, a boolean [n] for the n gradients.

    Args:
        optimizer: what applies the gradients.
    """

    def __init__(self, optimizer: tf_keras.optimizers.Optimizer):
        self._optimizer = optimizer
        self.finite = tf.ones([0], tf.bool)

    def __getattr__(self, name: str) -> object:
        return getattr(self._optimizer, name)

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Gradient, tf.Variable]], **kwargs: object
    ) -> None:
        """Applies pairs of gradient and variable; see the class."""
        gradients, variables = zip(*grads_and_vars, strict=True)
        self.finite = is_finite(gradients)
        all_finite = tf.reduce_all(self.finite)
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            tf.cond(
                all_finite,
                _done(lambda: self._apply(gradients, variables, kwargs)),
                _done(lambda: None),
            )
            return
        # Replicas wait for each other in the update, which no branch may hold.
        there = [i for i, gradient in enumerate(gradients) if gradient is not None]
        kept = tf.cond(
            all_finite,
            lambda: [tf.identity(gradients[i]) for i in there],
            lambda: [tf.zeros_like(gradients[i]) for i in there],
        )
        self._apply(kept, [variables[i] for i in there], kwargs)

    def _apply(self, gradients: Any, variables: Any, kwargs: dict[str, Any]) -> None:
        pairs = list(zip(gradients, variables, strict=True))
        self._optimizer.apply_gradients(pairs, **kwargs)


def _done(action: Callable[[], object]) -> Callable[[], tf.Tensor]:
    """Makes a branch of `tf.cond` of what has no value."""

    def branch() -> tf.Tensor:
        action()
        return tf.constant(True)

    return branch


def guard(optimizer: tf_keras.optimizers.Optimizer) -> Any:
    """Returns what a task's `train_step` is given for an optimizer.

    One that scales the loss (float16) passes over such gradients itself, which is how
    it finds its scale.
    """
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
        return optimizer
    return GuardedOptimizer(optimizer)


def train_while_finite(
    step: Callable[[], tf.Tensor],
    num_steps: tf.Tensor,
    go_on: Callable[[], tf.Tensor],
) -> None:
    """Takes steps, up to the first that was not finite or to a request to stop.

    Args:
        step: takes one; returns whether everything in it was finite.
        num_steps: how many at most.
        go_on: returns whether another one may begin.
    """

    def condition(done: tf.Tensor, finite: tf.Tensor) -> tf.Tensor:
        return (done < num_steps) & finite & go_on()

    def body(done: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return done + 1, step()

    tf.while_loop(condition, body, (tf.constant(0), tf.constant(True)))
