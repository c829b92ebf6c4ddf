"""Weight decay in Model Garden's convention."""

from __future__ import annotations

import tf_keras


def l2_regularizer(weight_decay: float) -> tf_keras.regularizers.Regularizer | None:
    """Returns the penalty 0.5 * weight_decay * sum(w**2), or None for 0.

    Its gradient is weight_decay * w, the weight decay of SGD.
    """
    return tf_keras.regularizers.l2(weight_decay / 2.0) if weight_decay else None
