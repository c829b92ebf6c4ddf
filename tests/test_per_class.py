"""ops.per_class: the deltas of one class per row."""

import numpy as np
import pytest
import tensorflow as tf

from libra_tf.ops.per_class import deltas_of_class


def table(images=2, rows=3, classes=4):
    """Image b, row n, class c, coordinate k have 1000 b + 100 n + 10 c + k."""
    b, n, c, k = np.ogrid[:images, :rows, :classes, :4]
    values = 1000 * b + 100 * n + 10 * c + k
    return tf.constant(values.reshape(images, rows, -1), tf.float32)


CLASSES = np.array([[2, 0, 3], [1, 1, 2]])


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.float32])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_each_row_has_its_class(jit_compile, dtype):
    function = deltas_of_class
    if jit_compile is not None:
        function = tf.function(deltas_of_class, jit_compile=jit_compile)
    found = function(table(), tf.cast(CLASSES, dtype))
    b, n = np.ogrid[:2, :3]
    first = 1000 * b + 100 * n + 10 * CLASSES
    np.testing.assert_array_equal(found, first[..., None] + np.arange(4))


def test_below_zero_is_class_zero():
    rows = deltas_of_class(table(), tf.constant([[-1, -2, 0]] * 2))
    np.testing.assert_array_equal(rows, table()[..., :4])


def test_a_class_agnostic_head_has_one_choice():
    deltas = table(classes=1)
    np.testing.assert_array_equal(deltas_of_class(deltas, CLASSES), deltas)


def test_the_type_stays_and_the_gradient_goes_to_the_class():
    deltas = tf.cast(table(), tf.bfloat16)
    assert deltas_of_class(deltas, CLASSES).dtype == tf.bfloat16
    with tf.GradientTape() as tape:
        tape.watch(deltas)
        total = tf.reduce_sum(deltas_of_class(deltas, CLASSES))
    gradient = tf.reshape(
        tf.cast(tape.gradient(total, deltas), "float32"), [2, 3, 4, 4]
    )
    expected = np.repeat(np.eye(4)[CLASSES][..., None], 4, -1)
    np.testing.assert_array_equal(gradient, expected)


def test_unknown_batch_and_no_rows():
    signature = [tf.TensorSpec([None, None, 16]), tf.TensorSpec([None, None])]
    traced = tf.function(deltas_of_class, input_signature=signature)
    assert traced(table(), tf.cast(CLASSES, tf.float32)).shape == [2, 3, 4]
    assert traced(table()[:, :0], tf.zeros([2, 0])).shape == [2, 0, 4]
