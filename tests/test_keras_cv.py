"""Balanced L1 as the box loss of KerasCV's RetinaNet."""

import keras_cv
import tensorflow as tf
from tolerances import NETWORK, assert_close

from libra_tf.losses import BalancedL1Loss, balanced_l1


def tiny_retinanet(box_loss):
    backbone = keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[8, 8, 8, 8],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
    )
    model = keras_cv.models.RetinaNet(
        num_classes=2, bounding_box_format="yxyx", backbone=backbone
    )
    model.compile(classification_loss="focal", box_loss=box_loss, optimizer="sgd")
    return model


def one_image():
    images = tf.random.stateless_uniform([1, 64, 64, 3], seed=(1, 2)) * 255
    boxes = tf.constant([[[8.0, 8, 40, 40], [20, 30, 60, 62]]])
    return images, {"boxes": boxes, "classes": tf.constant([[0.0, 1.0]])}


def test_the_boxes_are_summed_and_normalised_by_keras_cv():
    """KerasCV weights a positive anchor by 1 / #positives; the loss sums the rest."""
    model = tiny_retinanet(BalancedL1Loss(reduction="sum"))
    images, labels = one_image()
    outputs = model(images)
    boxes, classes = model.label_encoder(images, labels)
    positive = tf.cast(classes >= 0, tf.float32)
    per_anchor = tf.reduce_sum(balanced_l1(boxes, outputs["box"]), axis=-1)
    expected = tf.reduce_sum(per_anchor * positive) / tf.reduce_sum(positive)
    history = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert_close(history["box_loss"], expected, of=NETWORK)
