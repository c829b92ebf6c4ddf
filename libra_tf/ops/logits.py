"""Logits: what the sigmoid or the softmax of a score is to come out as.

Shape shorthand in this module:
    ...: images and anchors (or RoIs), any axes.
    C: foreground classes.
"""

import math

import tensorflow as tf

# A logit whose sigmoid is 0 in every float type: no score threshold lets it pass.
NEVER = -1e4


def logit(probability: float) -> float:
    """Log-odds of a probability in (0, 1): ln(p / (1 - p))."""
    return math.log(probability / (1.0 - probability))


def optimal_bias(num_foreground: float, num_anchors: float, num_classes: int) -> float:
    """Bias of the sigmoid classifier that minimises its initial loss.

        ln(pi / (1 - pi)),  pi = num_foreground / (num_anchors * num_classes)

    Args:
        num_foreground: > 0, positive anchors, counted (or averaged) over the data.
        num_anchors: positive and negative anchors over the same data; ignored ones
            do not count.
        num_classes: C >= 1 foreground classes; 1 for an RPN.

    Returns:
        The bias.

    Raises:
        ValueError: if `num_classes` < 1 or pi is not in (0, 1).

    Reference: Chen et al. (arXiv 1909.04868), optimal bias initialisation. The released
    code keeps pi = 1e-5 for RetinaNet and 2e-4 for the RPN on COCO.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if not num_foreground > 0:
        raise ValueError(f"num_foreground must be > 0, got {num_foreground}")
    if not num_foreground <= num_anchors < math.inf:
        raise ValueError(
            f"num_anchors must be at least num_foreground {num_foreground}, got "
            f"{num_anchors}"
        )
    num_entries = num_anchors * num_classes
    if num_foreground == num_entries:
        raise ValueError(
            f"num_anchors must exceed num_foreground {num_foreground} for one class, "
            f"got {num_anchors}"
        )
    return logit(num_foreground / num_entries)


def product_logits(objectness: tf.Tensor, class_logits: tf.Tensor) -> tf.Tensor:
    """Logit of the product of two probabilities: sigmoid of it is the score.

        logit(sigmoid(a) * sigmoid(b)) = -ln(e^-a + e^-b + e^(-a - b))

    Exact where the product itself rounds to 0 or 1.

    Args:
        objectness: a, [..., 1] logits; the sum of the objectness and its residuals.
        class_logits: b, [..., C].

    Returns:
        `float32` [..., C]; computed in float32 for any input type.

    Raises:
        ValueError: if the shapes do not fit.

    Reference: Chen et al., "Residual Objectness for Imbalance Reduction", Pattern
    Recognition 2022 (arXiv 1908.09075). The released code multiplies the sigmoids.
    """
    a, b = objectness_and_classes(objectness, class_logits)
    terms = (-a, -b, -a - b)
    # The largest cancels out of the result, and so out of its gradient.
    largest = tf.stop_gradient(tf.maximum(tf.maximum(terms[0], terms[1]), terms[2]))
    total = tf.add_n([tf.exp(term - largest) for term in terms])
    return -(largest + tf.math.log(total))


def joint_softmax_logits(objectness: tf.Tensor, class_logits: tf.Tensor) -> tf.Tensor:
    """Log-probabilities of background and classes from objectness and a softmax.

        background:  ln(1 - sigmoid(objectness))
        class c:     ln sigmoid(objectness) + ln softmax(class_logits)_c

    They sum to 1 as probabilities, so a softmax leaves them as they are, and their
    cross entropy is the BCE of the objectness plus, on positives, the cross entropy of
    the class: an RoI head with a softmax needs no other loss or inference.

    Args:
        objectness: [..., 1] logits; the sum of the objectness and its residuals.
        class_logits: [..., C], foreground classes only.

    Returns:
        `float32` [..., 1 + C], background first; computed in float32 for any input
        type.

    Raises:
        ValueError: if the shapes do not fit.

    Deviation: Chen et al. (arXiv 1908.09075) report a Faster R-CNN with residual
    objectness, but the released code is RetinaNet only. This wiring is ours.
    """
    objectness, logits = objectness_and_classes(objectness, class_logits)
    classes = tf.math.log_sigmoid(objectness) + tf.nn.log_softmax(logits)
    return tf.concat([tf.math.log_sigmoid(-objectness), classes], axis=-1)


def objectness_and_classes(
    objectness: tf.Tensor, class_logits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Both in float32; raises `ValueError` unless they are [..., 1] and [..., C]."""
    objectness = tf.convert_to_tensor(objectness)
    class_logits = tf.convert_to_tensor(class_logits)
    expected = class_logits.shape[:-1].concatenate(1)
    if class_logits.shape.rank == 0 or not objectness.shape.is_compatible_with(
        expected
    ):
        raise ValueError(
            f"objectness must have shape [..., 1] and class_logits [..., C], got "
            f"{objectness.shape} and {class_logits.shape}"
        )
    return tf.cast(objectness, tf.float32), tf.cast(class_logits, tf.float32)
