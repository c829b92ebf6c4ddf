"""What is traced as it is written, and what a first step creates."""

import pytest
import tensorflow as tf
import tf_keras
from official.modeling.optimization import ExponentialMovingAverage

from libra_tf.ops.autograph import without_autograph
from libra_tf.training.trainer import create_slots


class Base:
    def step(self, x):
        if x > 0:  # on a tensor: only a conversion can trace it
            return x
        return -x


@without_autograph("step")
class Plain(Base):
    pass


def test_named_methods_are_not_converted_and_the_base_is():
    assert tf.function(Base().step)(tf.constant(-2.0)) == 2.0
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        tf.function(Plain().step)(tf.constant(-2.0))
    assert Plain().step(tf.constant(-2.0)) == 2.0


OPTIMIZERS = {
    "sgd": lambda: tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9),
    "average": lambda: ExponentialMovingAverage(
        tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9)
    ),
    "loss scale": lambda: tf_keras.mixed_precision.LossScaleOptimizer(
        tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9)
    ),
    "new": lambda: tf_keras.optimizers.experimental.AdamW(0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_creates_no_variable(make):
    """A traced function that creates a variable is traced once more."""
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    optimizer = make()
    if isinstance(optimizer, ExponentialMovingAverage):
        optimizer.shadow_copy(model)  # as Model Garden's trainer does
    create_slots(optimizer, model.trainable_variables)
    traced = []

    @tf.function
    def step():
        traced.append(1)
        gradients = [tf.ones_like(v) for v in model.trainable_variables]
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )

    before = model.get_weights()
    step()
    assert len(traced) == 1
    assert all((a != b).all() for a, b in zip(before, model.get_weights(), strict=True))
