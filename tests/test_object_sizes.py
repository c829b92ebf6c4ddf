"""data.object_sizes: one rule, that of COCO's evaluation, for all who count by size."""

import numpy as np
import pytest

from libra_tf.data.object_sizes import AREA_RANGES, in_range


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        (31.9, ["all", "small"]),
        (32.0, ["all", "small", "medium"]),
        (32.1, ["all", "medium"]),
        (96.0, ["all", "medium", "large"]),
        (96.1, ["all", "large"]),
    ],
)
def test_both_ends_belong_to_a_range(side, sizes):
    areas = np.array([side**2, 0.0])
    assert [s for s in AREA_RANGES if in_range(areas, s)[0]] == sizes
    assert [s for s in AREA_RANGES if in_range(areas, s)[1]] == ["all", "small"]


def test_the_ranges_are_those_of_pycocotools():
    from pycocotools.cocoeval import Params

    params = Params("bbox")
    assert params.areaRngLbl == list(AREA_RANGES)
    assert [tuple(map(float, r)) for r in params.areaRng] == [*AREA_RANGES.values()]
