"""RoIAlign over levels against loops over samples, in value, gradient and memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from tolerances import ELEMENTWISE, NETWORK, assert_close

from libra_tf.ops import roi_align as module
from libra_tf.ops.roi_align import assign_levels, roi_align

STRIDES = (4, 8, 16, 32)
HEIGHT, WIDTH = 67 * 4, 93 * 4  # sizes of levels are odd
SIDE = 7


def pyramid(batch=2, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(batch, -(-HEIGHT // s), -(-WIDTH // s), channels)).astype("f4")
        for s in STRIDES
    ]


def rois():
    """[2, 10, 4]; some without area, over the border, or very long."""
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 1, [2, 10, 2, 2]) * [HEIGHT, WIDTH]
    boxes = np.concatenate([points.min(2), points.max(2)], -1)
    boxes[0, :7] = [
        [0, 0, 0, 0],
        [0, 0, HEIGHT, WIDTH],
        [5, 5, 5, 60],
        [-100, -50, 30, 20],
        [200, 300, 400, 600],
        [3, 3, 9, 360],
        [3, 3, 260, 9],
    ]
    return boxes.astype(np.float32)


def sample(level, y, x):
    """Bilinear value at (y, x), as the reference's kernel."""
    height, width, channels = level.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    upper = level[y0, x0] * (1 - x + x0) + level[y0, x1] * (x - x0)
    lower = level[y1, x0] * (1 - x + x0) + level[y1, x1] * (x - x0)
    return upper * (1 - y + y0) + lower * (y - y0)


def by_loops(level, box, stride, ratio):
    y, x, y_end, x_end = box * np.float32(1 / stride) - np.float32(0.5)
    height, width = (y_end - y) / SIDE, (x_end - x) / SIDE
    rows, columns = ratio or math.ceil(height), ratio or math.ceil(width)
    result = np.zeros([SIDE, SIDE, level.shape[-1]])
    for i, j in np.ndindex(SIDE, SIDE):
        for a, b in np.ndindex(rows, columns):
            result[i, j] += sample(
                level,
                y + (i + (a + 0.5) / rows) * height,
                x + (j + (b + 0.5) / columns) * width,
            )
    return result / max(rows * columns, 1)


def run(features, boxes, ratio):
    levels = assign_levels(tf.constant(boxes), 4)
    return roi_align(
        features, boxes, levels, strides=STRIDES, sampling_ratio=ratio
    ), levels.numpy()


@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
def test_values(ratio):
    features, boxes = pyramid(), rois()
    result, levels = run([tf.constant(x) for x in features], boxes, ratio)
    assert set(levels.flat) == {0, 1, 2}
    for i, n in np.ndindex(boxes.shape[:2]):
        k = levels[i, n]
        expected = by_loops(features[k][i], boxes[i, n], STRIDES[k], ratio)
        assert_close(result[i, n], expected, of=NETWORK, scale=1.0)


def test_the_grid_adapts_to_each_roi():
    """With a fixed grid, the same numbers come out where ceil(side / 7) is 2."""
    features = [tf.constant(x) for x in pyramid()]
    boxes = np.float32([[[16, 16, 72, 72], [16, 16, 44, 44]]] * 2)
    adaptive, fixed = (run(features, boxes, ratio)[0] for ratio in (0, 2))
    np.testing.assert_array_equal(adaptive[:, 0], fixed[:, 0])
    assert np.abs(adaptive[:, 1] - fixed[:, 1]).max() > 0.1


@pytest.mark.parametrize("trace", [tf.function, lambda f: f], ids=["graph", "eager"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_gradient(trace, ratio):
    """The result is linear in the features: <gradient, features> is the value."""
    features = [tf.constant(x) for x in pyramid()]
    weights = tf.random.stateless_normal([2, 10, SIDE, SIDE, 3], [1, 2])

    @trace
    def gradient(features):
        boxes = tf.constant(rois())
        with tf.GradientTape() as tape:
            tape.watch([features, boxes])
            value = tf.reduce_sum(run_fixed(features, boxes, ratio) * weights)
        return value, *tape.gradient(value, [features, boxes])

    def run_fixed(features, boxes, ratio):
        levels = assign_levels(boxes, 4)
        return roi_align(features, boxes, levels, strides=STRIDES, sampling_ratio=ratio)

    value, found, of_boxes = gradient(features)
    assert of_boxes is None
    products = [tf.reduce_sum(a * b) for a, b in zip(found, features, strict=True)]
    np.testing.assert_allclose(tf.add_n(products), value, rtol=1e-4)
    # And not only in this direction.
    step = pyramid(seed=5)
    moved = [a + b for a, b in zip(features, step, strict=True)]
    change = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(found, step, strict=True)])
    np.testing.assert_allclose(gradient(moved)[0] - value, change, rtol=1e-3)


def test_chunks_do_not_change_the_result(monkeypatch):
    features, boxes = [tf.constant(x) for x in pyramid()], rois()
    expected, _ = run(features, boxes, 0)
    monkeypatch.setattr(module, "CELLS", 1)  # every RoI by itself
    assert_close(run(features, boxes, 0)[0], expected, of=ELEMENTWISE, scale=1.0)


def test_unknown_sizes_and_half_types():
    spec = tf.TensorSpec([None, None, None, 3], tf.bfloat16)

    @tf.function(input_signature=[[spec] * 4, tf.TensorSpec([None, 10, 4])])
    def crop(features, boxes):
        result = roi_align(features, boxes, assign_levels(boxes, 4), strides=STRIDES)
        assert result.shape.as_list() == [None, 10, SIDE, SIDE, 3]
        return result

    features = [tf.cast(x, tf.bfloat16) for x in pyramid()]
    result = crop(features, rois())
    assert result.dtype == tf.bfloat16
    wide, _ = run([tf.cast(x, tf.float32) for x in features], rois(), 0)
    result = tf.cast(result, tf.float32)
    assert_close(result, wide, of=ELEMENTWISE, dtype="bfloat16")


def test_no_rois():
    features = [tf.constant(x) for x in pyramid()]
    result, _ = run(features, np.zeros([2, 0, 4], np.float32), 0)
    assert result.shape == [2, 0, SIDE, SIDE, 3]


@pytest.mark.parametrize(
    ("side", "level"),
    [(0, 0), (10, 0), (111.9, 0), (112, 1), (223.9, 1), (224, 2), (448, 3), (9e3, 3)],
)
def test_levels(side, level):
    box = tf.constant([[5.0, 7, 5 + side, 7 + side], [0, 0, side / 2, side * 2]])
    assert assign_levels(box, 4).numpy().tolist() == [level, level]


@pytest.mark.parametrize("scale", [32, 56])
def test_levels_as_a_logarithm(scale):
    sides = np.exp(np.random.default_rng(0).uniform(0, 7, [1000, 2])).astype(np.float32)
    boxes = np.concatenate([np.zeros_like(sides), sides], 1)
    expected = np.floor(np.log2(np.sqrt(sides.astype(float).prod(1)) / scale + 1e-6))
    np.testing.assert_array_equal(
        assign_levels(tf.constant(boxes), 4, scale), expected.clip(0, 3)
    )


def test_messages():
    with pytest.raises(ValueError, match="crop_size must be >= 1 and sampling_ratio"):
        roi_align([], tf.zeros([1, 1, 4]), tf.zeros([1, 1]), strides=[], crop_size=0)
