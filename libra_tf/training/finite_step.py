"""A training step whose weights stay as they were where a gradient is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import tensorflow as tf

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None
_MIRRORED = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_finite(tensors: Iterable[Gradient]) -> tf.Tensor:
    """Returns a boolean [n]: which of n tensors hold finite numbers only.

    What is None counts as finite. One pass over each tensor: a sum of squares is finite
    where the numbers are, unless it is beyond 3e38.
    """
    sums = []
    for tensor in tensors:
        if tensor is None:
            sums.append(tf.constant(0.0))
            continue
        values = tensor.values if isinstance(tensor, tf.IndexedSlices) else tensor
        sums.append(tf.nn.l2_loss(tf.cast(values, tf.float32)))
    return tf.math.is_finite(tf.stack(sums)) if sums else tf.ones([0], tf.bool)


class GradientCollector:
    """Stands for an optimizer within one call of a task's `train_step`; applies none.

    Attributes:
        gradients: what was to be applied, to `variables`.

    Args:
        optimizer: answers what else is asked.
    """

    def __init__(self, optimizer: Any = None):
        self._optimizer = optimizer
        self.gradients: list[Gradient] = []
        self.variables: list[tf.Variable] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._optimizer, name)

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Gradient, tf.Variable]]
    ) -> None:
        """Keeps pairs of gradient and variable."""
        for gradient, variable in grads_and_vars:
            self.gradients.append(gradient)
            self.variables.append(variable)

    def apply_if(self, good: tf.Tensor, *, compiled: bool = False) -> None:
        """Has the optimizer apply them, if the step is good on every replica.

        Else nothing changes, neither weights nor slots nor averages.

        Args:
            good: boolean of this replica.
            compiled: by XLA, where replicas do not meet.
        """
        pairs = zip(self.gradients, self.variables, strict=True)
        there = [pair for pair in pairs if pair[0] is not None]
        if not there:
            return
        gradients, variables = map(list, zip(*there, strict=True))

        def apply(gradients: list[tf.Tensor]) -> None:
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))

        strategy = tf.distribute.get_strategy()
        if compiled or not isinstance(strategy, _MIRRORED):
            tf.cond(good, _done(lambda: apply(gradients)), _done(lambda: None))
            return

        def apply_on_all(
            strategy: tf.distribute.Strategy, good: object, gradients: object
        ) -> None:
            # Here replicas do not wait for each other, so a branch may hold the update.
            on_all = tf.reduce_all(strategy.experimental_local_results(good))
            update = strategy.extended.call_for_each_replica
            tf.cond(
                on_all,
                _done(lambda: update(apply, args=(gradients,))),
                _done(lambda: None),
            )

        context = tf.distribute.get_replica_context()
        context.merge_call(apply_on_all, args=(good, gradients))


def anywhere(*flags: tf.Tensor) -> list[tf.Tensor]:
    """Returns for each boolean whether it is true on any replica of any process.

    To be called in a replica.
    """
    context = tf.distribute.get_replica_context()
    counts = context.all_reduce("sum", tf.cast(tf.stack(flags), tf.float32))
    return tf.unstack(counts > 0.0)


def _done(action: Callable[[], object]) -> Callable[[], tf.Tensor]:
    """Makes a branch of `tf.cond` of what has no value."""

    def branch() -> tf.Tensor:
        action()
        return tf.constant(True)

    return branch


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
