"""RoIAlign of mmcv (`aligned`), over several levels, in bounded memory.

The samples of a RoI are a grid, so the bilinear weights and the mean are separable:

    out = Y F X^T,   Y [S, rows], X [S, columns]

with F the window of cells that the RoI touches and S the side of the result. RoIs of
about the same size of window are computed together, as many as `CELLS` allow.

Shape shorthand in this module:
    B: images in the batch.
    N: RoIs per image; R = B * N.
    T: cells of all levels of all images.
    C: channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from libra_tf.ops import roi_windows as windows

# Cells of the windows that are in memory at a time: 64 MiB of 256 channels in float32.
CELLS = 2**16
MAX_TOGETHER = 128
# Keeps a box of exactly a level's size in that level (mmdetection).
_LEVEL_EPSILON = 1e-6


def assign_levels(
    boxes: tf.Tensor, num_levels: int, finest_scale: float = 56.0
) -> tf.Tensor:
    """Level of each RoI by its size: floor(log2(sqrt(area) / finest_scale)).

    Args:
        boxes: [..., 4], yxyx in pixels.
        num_levels: results are in [0, num_levels).
        finest_scale: side of a square that is just of level 0.

    Returns:
        `int32` [...].

    Reference: Lin et al., "Feature Pyramid Networks", equation 1; mmdetection
    `SingleRoIExtractor`.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    size = tf.sqrt(tf.maximum(sides[..., 0] * sides[..., 1], 0.0))
    ratio = size / finest_scale + _LEVEL_EPSILON
    # Compared, since a logarithm may round below a whole number.
    starts = tf.constant([2.0**k for k in range(1, num_levels)], tf.float32)
    return tf.reduce_sum(tf.cast(ratio[..., tf.newaxis] >= starts, tf.int32), axis=-1)


def roi_align(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    levels: tf.Tensor,
    *,
    strides: Sequence[int],
    crop_size: int = 7,
    sampling_ratio: int = 0,
) -> tf.Tensor:
    """Mean of bilinear samples in each of crop_size x crop_size bins of a RoI.

    A sample at y takes the cells around y / stride - 0.5. Outside by more than one cell
    it is 0, else the nearest cell's.

    Args:
        features: per level [B, H_l, W_l, C], any float type; C known.
        boxes: [B, N, 4], yxyx in pixels.
        levels: `int32` [B, N], which of `features`.
        strides: pixels per cell of each level.
        crop_size: bins per side.
        sampling_ratio: samples per side of a bin; 0 takes ceil(RoI side in cells /
            crop_size).

    Returns:
        [B, N, crop_size, crop_size, C], of the type of the features. A RoI without area
        has zeros (where the ratio is 0). There is a gradient for the features, none for
        the boxes.

    References: He et al., "Mask R-CNN", ICCV 2017; mmcv `roi_align`, aligned.
    """
    if crop_size < 1 or sampling_ratio < 0:
        raise ValueError(
            "crop_size must be >= 1 and sampling_ratio >= 0, got "
            f"{crop_size} and {sampling_ratio}"
        )
    channels = features[0].shape[-1]
    cells = tf.concat([tf.reshape(x, [-1, channels]) for x in features], axis=0)
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    rois = windows.place(features, boxes, levels, strides, crop_size, sampling_ratio)
    crops = _crop(cells, rois, crop_size)
    shape = [tf.shape(boxes)[0], tf.shape(boxes)[1], crop_size, crop_size, channels]
    static = [*boxes.shape[:2], crop_size, crop_size, channels]
    return tf.ensure_shape(tf.reshape(crops, shape), static)


def _together(rois: windows.RoIs, start: tf.Tensor) -> tf.Tensor:
    """How many RoIs from `start` on have windows that fit into `CELLS`; at least 1."""
    rows = rois.y.count[start : start + MAX_TOGETHER]
    columns = rois.x.count[start : start + MAX_TOGETHER]
    size = tf.shape(rows)[0]
    so_far = tf.range(size)[:, tf.newaxis] >= tf.range(size)
    highest = [tf.reduce_max(tf.where(so_far, n, 0), axis=1) for n in (rows, columns)]
    cells = tf.range(1, size + 1) * highest[0] * highest[1]
    return tf.maximum(tf.reduce_sum(tf.cast(cells <= CELLS, tf.int32)), 1)


def _crop(cells: tf.Tensor, rois: windows.RoIs, crop_size: int) -> tf.Tensor:
    """[T, C] -> [R, crop_size, crop_size, C]."""
    order = windows.by_size(rois)
    rois = windows.take(rois, order)
    total = tf.shape(order)[0]
    channels = cells.shape[-1]

    @tf.custom_gradient
    def crop(cells):
        def step(start, crops):
            rows = tf.range(start, start + _together(rois, start))
            y, x, window = windows.operators(windows.take(rois, rows), crop_size)
            values = tf.cast(tf.gather(cells, window), tf.float32)
            crops = crops.write(crops.size(), windows.apply(y, x, values))
            return start + tf.shape(rows)[0], crops

        crops = tf.TensorArray(
            tf.float32,
            0,
            dynamic_size=True,
            infer_shape=False,
            element_shape=[None, crop_size, crop_size, channels],
        )
        # tf.concat needs one chunk, also for 0 RoIs.
        crops = crops.write(0, tf.zeros([0, crop_size, crop_size, channels]))
        _, crops = tf.while_loop(
            lambda start, _: start < total, step, (0, crops), parallel_iterations=1
        )
        result = tf.scatter_nd(
            order[:, tf.newaxis],
            crops.concat(),
            [total, crop_size, crop_size, channels],
        )

        def gradient(upstream):
            upstream = tf.gather(tf.cast(upstream, tf.float32), order)

            def back(start, total_gradient):
                rows = tf.range(start, start + _together(rois, start))
                y, x, window = windows.operators(windows.take(rois, rows), crop_size)
                part = windows.apply_transposed(y, x, tf.gather(upstream, rows))
                index = tf.reshape(window, [-1, 1])
                part = tf.reshape(part, [-1, channels])
                added = tf.tensor_scatter_nd_add(total_gradient, index, part)
                return start + tf.shape(rows)[0], added

            zeros = tf.zeros(tf.shape(cells), tf.float32)
            _, result = tf.while_loop(
                lambda start, _: start < total, back, (0, zeros), parallel_iterations=1
            )
            return tf.cast(result, cells.dtype)

        return tf.cast(result, cells.dtype), gradient

    return crop(cells)
