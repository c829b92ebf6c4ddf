"""A colour for each class, as far from the others as 96 colours can be."""

from __future__ import annotations

import functools

import numpy as np

Color = tuple[int, int, int]  # red, green, blue, 0 to 255

# More than COCO's largest id, 90, so that no two of its classes share a colour.
NUM_COLORS = 96
# What cannot be mistaken for a class: black text is read on each colour, white and
# grey belong to ground truth and to the image.
_LIGHTEST, _DARKEST, _LEAST_CHROMA = 95.0, 52.0, 30.0
_STEPS = 18  # of each channel, for the colours that are chosen from


def class_color(class_id: int) -> Color:
    """Returns the colour of a category id; ids that differ by 96 share one."""
    red, green, blue = _colors()[int(class_id) % NUM_COLORS]
    return int(red), int(green), int(blue)


@functools.cache
def _colors() -> np.ndarray:
    """Returns [96, 3] uint8: each is the farthest, in CIELAB, from those before."""
    import cv2

    levels = np.linspace(0, 1, _STEPS, dtype=np.float32)
    rgb = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 1, 3)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0]
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    light = lab[:, 0]
    usable = (light > _DARKEST) & (light < _LIGHTEST) & (chroma > _LEAST_CHROMA)
    rgb, lab = rgb[usable, 0], lab[usable]
    chosen = [int(np.argmax(lab[:, 2]))]  # yellow
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < NUM_COLORS:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return np.round(rgb[chosen] * 255).astype(np.uint8)
