"""criteria.dense_pisa: PISA's published numbers on a batch of anchors."""

import dense_batches as batches
import numpy as np
import pytest
import tensorflow as tf
from dense_batches import IGNORED, NUM_CLASSES
from official.vision.utils.object_detection import box_list, faster_rcnn_box_coder
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.criteria.dense_batch import dense_batch
from libra_tf.criteria.dense_pisa import carl_sum, isr_weights
from libra_tf.criteria.pisa import iou_of_deltas
from libra_tf.experiments import loss_config
from libra_tf.losses import smooth_l1
from libra_tf.ops.boxes import paired_iou

# As in test_rcnn_pisa: six positives of three objects in three images.
PLACES = ([0, 0, 0, 1, 2, 2], [0, 2, 3, 1, 0, 1])
CLASSES = [[1, -1, 1, 1], [IGNORED, 1, -1, -1], [2, 2, IGNORED, -1]]
IOU = np.array([0.9, 0.6, 0.8, 0.7, 0.95, 0.3])
LOSSES = [0.2395448, 0.5514446, 1.0986123, 1.1802697, 0.0949229, 2.2395446]
EXPECTED = [2.105123, 0.131570, 0.526281, 1.184132, 2.105123, 1.184132]


def positives(box_coder_weights=(1.0, 1.0, 1.0, 1.0)):
    """The batch: predicted boxes are narrower than their targets by the IoU."""
    outputs, labels = batches.batch(CLASSES, instances=np.zeros([3, 4]))
    narrower = np.zeros([3, 4, 4])
    narrower[(*PLACES, 3)] = np.log(IOU)
    scale = np.float32(box_coder_weights)
    change = batches.levels(narrower, 2)
    labels["box_targets"] = {k: v * scale for k, v in labels["box_targets"].items()}
    outputs["box_outputs"] = {
        k: labels["box_targets"][k] + change[k] * scale for k in change
    }
    return dense_batch(outputs, labels, NUM_CLASSES, box_coder_weights)


def values(fill=5.0):
    array = np.full([3, 4], fill, np.float32)
    array[PLACES] = LOSSES
    return tf.constant(array)


def isr(dense, *, old=None, k=2.0):
    config = loss_config.PositiveImportance(enabled=True, k=k)
    old = tf.ones([3, 4]) if old is None else old
    return isr_weights(dense, values(), old, config).numpy()


def test_published_weights():
    weights = isr(positives())
    np.testing.assert_allclose(weights[PLACES], EXPECTED, atol=2e-6)
    assert_close(np.sum(weights[PLACES] * LOSSES), 5.404339, of=ELEMENTWISE)
    others = np.array(CLASSES) <= 0
    np.testing.assert_array_equal(weights[others], 1)


def test_weights_of_box_coders():
    """Deltas that are multiplied are divided before boxes are made of them."""
    coder = (10.0, 10.0, 5.0, 5.0)
    weights = isr(positives(coder))
    np.testing.assert_allclose(weights[PLACES], EXPECTED, atol=2e-6)


def test_ignored_anchors_keep_their_zero():
    dense = positives()
    weights = isr(dense, old=tf.cast(dense.valid, tf.float32))
    np.testing.assert_array_equal(weights[np.array(CLASSES) == IGNORED], 0)
    np.testing.assert_allclose(weights[PLACES], EXPECTED, atol=2e-6)


def test_the_iou_is_that_of_boxes_decoded_from_the_anchors():
    """Ranks of one object's positives, by Model Garden's decoding of real anchors."""
    rng = np.random.default_rng(4)
    corner = rng.uniform(0, 300, (60, 2))
    anchors = np.concatenate([corner, corner + rng.uniform(10, 99, corner.shape)], -1)
    predicted = rng.normal(0, 0.3, (60, 4))
    targets = rng.uniform(-0.3, 0.3, (60, 4))
    coder = faster_rcnn_box_coder.FasterRcnnBoxCoder()
    anchors = box_list.BoxList(tf.constant(anchors, tf.float32))
    boxes, wanted = (
        coder.decode(tf.constant(x, tf.float32), anchors).get()
        for x in (predicted, targets)
    )
    iou = paired_iou(boxes + 1000.0, wanted + 1000.0).numpy()
    outputs, labels = batches.batch(np.ones([1, 60], int), instances=np.zeros([1, 60]))
    outputs["box_outputs"] = batches.levels(predicted[None], 30)
    labels["box_targets"] = batches.levels(targets[None], 30)
    dense = dense_batch(outputs, labels, NUM_CLASSES)
    config = loss_config.PositiveImportance(enabled=True, k=1.0)
    weights = isr_weights(dense, tf.ones([1, 60]), tf.ones([1, 60]), config)[0].numpy()
    clear = iou > 0.01  # those that do not meet are equal
    np.testing.assert_array_equal(
        np.argsort(-weights)[: clear.sum()], np.argsort(-iou)[: clear.sum()]
    )


def test_the_iou_of_boxes_up_left_of_their_anchor():
    """Around one center, sides e^.2 and e^-.05: IoU e^-.5, wherever the anchor is."""
    wanted = tf.constant([[-1, -1, 0.2, 0.2], [-1, -1, 0.2, 0.2], [-9, -9, 0.2, 0.2]])
    predicted = tf.constant([[-1, -1, -0.05, -0.05], [-9, -9, 0, 0], [-9, -9, 0.2, 0]])
    iou = iou_of_deltas(predicted, wanted, None)
    assert_close(iou, [np.exp(-0.5), 0, np.exp(-0.2)], of=ELEMENTWISE, scale=1.0)


def test_no_positives():
    dense = batches.dense(-np.ones([3, 4], int), instances=np.zeros([3, 4]))
    np.testing.assert_array_equal(isr(dense), np.ones([3, 4]))
    config = loss_config.ClassAwareRegression(weight=1.0)
    assert float(carl_sum(dense, tf.zeros([3, 4, 4]), config)) == 0


def test_weights_have_no_gradient():
    boxes = tf.Variable(positives().boxes)
    with tf.GradientTape() as tape:
        dense = positives()._replace(boxes=tf.identity(boxes))
        config = loss_config.PositiveImportance(enabled=True)
        loss = tf.reduce_sum(isr_weights(dense, values(), tf.ones([3, 4]), config))
    assert tape.gradient(loss, boxes) is None


def carl_batch():
    """Predictions off by 10 (1 - IoU) in the last coordinate; published scores."""
    outputs, labels = batches.batch(CLASSES)
    dense = dense_batch(outputs, labels, NUM_CLASSES)
    probability = np.array([0.786986, 0.576117, 0.333333, 0.307196, 0.909443, 0.106507])
    logits = np.full([3, 4, NUM_CLASSES], 7.0)  # of classes not wanted
    logits[(*PLACES, np.array(CLASSES)[PLACES])] = np.log(
        probability / (1 - probability)
    )
    off = np.zeros([3, 4, 4])
    off[(*PLACES, 3)] = 10 * (1 - IOU)
    return dense._replace(
        logits=tf.constant(logits, tf.float32),
        boxes=dense.box_targets + tf.constant(off, tf.float32),
    )


def test_published_carl():
    """The published number is over 8 RoIs."""
    dense = carl_batch()
    errors = smooth_l1(dense.box_targets, dense.boxes, beta=1.0)
    config = loss_config.ClassAwareRegression(weight=1.0)
    loss = carl_sum(dense, errors, config)
    np.testing.assert_allclose(loss / 8, 1.3508083, rtol=2e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(jit_compile):
    config = loss_config.ClassAwareRegression(weight=1.0)
    sizes = positives().level_sizes

    def run(*tensors):
        dense = type(positives())(*tensors, sizes)
        errors = smooth_l1(dense.box_targets, dense.boxes, beta=1.0)
        settings = loss_config.PositiveImportance(enabled=True)
        weights = isr_weights(dense, values(), tf.ones([3, 4]), settings)
        return weights, carl_sum(dense, errors, config)

    tensors = positives()[:-2]
    found = tf.function(run, jit_compile=jit_compile)(*tensors)
    for a, b in zip(found, run(*tensors), strict=True):
        assert_close(a, b, of=REDUCTION)
