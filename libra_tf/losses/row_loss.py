"""Keras losses of rows of numbers, of which a weight of 0 leaves one out."""

import tensorflow as tf
import tf_keras


class RowLoss(tf_keras.losses.Loss):
    """Base of losses whose `call` gives one value for each row [..., K].

    A row with a `sample_weight` of 0 may hold anything, NaN and infinity included: it
    adds 0 to the loss, and its gradient is 0. (Keras multiplies the loss by the weight,
    and 0 * NaN is NaN.) A weight may have fewer axes than `y_pred`: [B, A] for
    [B, A, K], as Keras has it.
    """

    def __call__(
        self,
        y_true: tf.Tensor,
        y_pred: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the weighted loss, reduced as `reduction` says."""
        if sample_weight is not None:
            y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
            weighted = tf.not_equal(tf.convert_to_tensor(sample_weight), 0)
            for _ in range(y_pred.shape.rank - weighted.shape.rank):
                weighted = weighted[..., tf.newaxis]
            # Selected before the loss: after it, the gradient of a NaN would be NaN.
            y_true, y_pred = (
                tf.where(weighted, x, tf.zeros_like(x)) for x in (y_true, y_pred)
            )
        return super().__call__(y_true, y_pred, sample_weight)
