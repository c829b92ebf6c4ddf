"""ops.keep_ratio: images as OpenCV and mmdetection make them."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, assert_close

from libra_tf.ops.keep_ratio import (
    DEVIATION_RGB,
    MEAN_RGB,
    fit_size,
    normalize_bytes,
    pad_to_multiple,
    resize_bytes,
)

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "resize_bytes.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN})
ANY_SIZE = tf.TensorSpec([None, None, None, 3], tf.uint8)
dynamic = tf.function(
    resize_bytes, input_signature=[ANY_SIZE, tf.TensorSpec([2], tf.int32)]
)


@pytest.mark.parametrize("resize", [resize_bytes, dynamic], ids=["eager", "any size"])
@pytest.mark.parametrize("case", CASES)
def test_equals_opencv_to_the_last_bit(case, resize):
    image, expected = GOLDEN[f"{case}/image"], GOLDEN[f"{case}/resized"]
    found = resize(image[np.newaxis], tf.constant(expected.shape[:2]))
    np.testing.assert_array_equal(found[0], expected)


def test_a_hand_computed_row():
    """Two pixels on four: centres at -1/4, 1/4, 3/4 and 5/4."""
    row = tf.constant([[[[0], [100]]]], tf.uint8)
    assert resize_bytes(row, [1, 4]).numpy().ravel().tolist() == [0, 25, 75, 100]


def test_the_same_size_changes_nothing():
    image = GOLDEN["0/image"][np.newaxis]
    np.testing.assert_array_equal(resize_bytes(image, image.shape[1:3]), image)


def test_a_batch_is_its_images():
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 3)).astype(np.uint8)
    together = resize_bytes(images, [11, 5])
    for k in range(3):
        single = resize_bytes(images[k : k + 1], [11, 5])
        np.testing.assert_array_equal(together[k : k + 1], single)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((427, 640), (800, 1199)),
        ((640, 480), (1067, 800)),
        ((400, 1000), (533, 1333)),  # the longer side ends it
        ((800, 1333), (800, 1333)),
        ((3, 4), (800, 1067)),
        ((1, 5000), (1, 1333)),  # never less than a pixel
    ],
)
def test_the_size_of_mmcv(size, expected):
    assert tuple(fit_size(tf.constant(size), 800, 1333).numpy()) == expected


def test_sizes_agree_with_python_arithmetic():
    rng = np.random.default_rng(1)
    for height, width in rng.integers(1, 3000, (300, 2)).tolist():
        scale = min(1333 / max(height, width), 800 / min(height, width))
        expected = [max(1, int(n * scale + 0.5)) for n in (height, width)]
        assert fit_size(tf.constant([height, width]), 800, 1333).numpy().tolist() == (
            expected
        )


def test_normalisation():
    grey = tf.constant([[[[0, 128, 255]]]], tf.uint8)
    expected = (np.array([0, 128, 255]) - MEAN_RGB) / DEVIATION_RGB
    assert_close(normalize_bytes(grey)[0, 0, 0], expected, of=ELEMENTWISE)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 32), (64, 32)), ((65, 1), (96, 32)), ((1, 31), (32, 32))],
)
def test_padding_is_below_and_right(size, expected):
    images = tf.ones([2, *size, 3])
    padded = pad_to_multiple(images, 32)
    assert padded.shape == (2, *expected, 3)
    np.testing.assert_array_equal(padded[:, : size[0], : size[1]], images)
    assert tf.reduce_sum(padded) == tf.reduce_sum(images)


@pytest.mark.parametrize(
    "images", [tf.zeros([1, 4, 4, 3]), tf.zeros([4, 4, 3], tf.uint8)]
)
def test_other_images_are_refused(images):
    with pytest.raises(ValueError, match="images must be uint8"):
        resize_bytes(images, [2, 2])
