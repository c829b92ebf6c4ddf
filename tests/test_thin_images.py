"""inference.thin_images: what Model Garden's scaling would leave nothing of."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.ops import preprocess_ops

from libra_tf.inference.thin_images import info_of_original, widen

SIZE = [64, 64]


def scaled(image):
    return preprocess_ops.resize_and_crop_image(
        tf.cast(image, tf.float32), SIZE, padded_size=SIZE, keep_aspect_ratio=True
    )


@pytest.mark.parametrize("shape", [(4000, 20), (20, 4000), (4096, 32), (9000, 1)])
def test_something_is_left_of_a_thin_image(shape):
    image = tf.random.uniform([*shape, 3], 1, 255, seed=1)
    widened = widen(image, SIZE)
    output, info = scaled(widened)
    info = info_of_original(info, image, widened)
    np.testing.assert_array_equal(info[0], shape)
    # The one row or column of pixels is the whole of the image's.
    side = int(np.argmin(shape))
    assert float(info[2, side] * shape[side]) == 1.0
    np.testing.assert_allclose(info[2, 1 - side] * shape[1 - side], 64, rtol=1e-6)
    assert tf.reduce_all(output[0, 0] > 0)


@pytest.mark.parametrize("shape", [(1, 1), (64, 1), (400, 267), (4000, 40)])
def test_other_images_stay(shape):
    image = tf.random.uniform([*shape, 3], 1, 255, seed=1)
    widened = widen(image, SIZE)
    np.testing.assert_array_equal(widened, image)
    _, info = scaled(image)
    np.testing.assert_array_equal(info_of_original(info, image, widened), info)
