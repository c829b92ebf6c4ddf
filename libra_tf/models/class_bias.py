"""Sets the probability that a dense head starts from."""

from __future__ import annotations

import tensorflow as tf
import tf_keras


def set_class_bias(head: tf_keras.layers.Layer, bias: float) -> None:
    """Fills the bias of a head's class output.

    Args:
        head: Model Garden's `RetinaNetHead` or `RPNHead`, built.
        bias: logit of the initial probability.

    Raises:
        ValueError: its class output is not a convolution.
    """
    classifiers = head._classifier
    if not isinstance(classifiers, list | tuple):
        classifiers = [classifiers]
    for classifier in classifiers:
        variable = getattr(classifier, "bias", None)
        if variable is None:
            raise ValueError(
                f"{type(head).__name__} has the class output "
                f"{type(classifier).__name__}, which has no bias of its own"
            )
        variable.assign(tf.fill(variable.shape, tf.cast(bias, variable.dtype)))
