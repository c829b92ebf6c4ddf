"""How far two computations of one number may be apart: one table for all tests.

A tolerance is `eps * growth`. `eps` is the distance from 1 to the next number of the
dtype. `growth` counts the roundings that another order of the same operations
(instruction set, number of threads, oneDNN or Eigen, graph or eager or XLA) can add:

| depth         | what is between input and output                 | float32 growth    |
|---------------|--------------------------------------------------|-------------------|
| `ELEMENTWISE` | some operations, exp, log, sums of few terms     | 16                |
| `REDUCTION`   | a sum of n <= 2**14 terms grows like sqrt(n)     | 128               |
| `NETWORK`     | some 60 convolutions in turn, sqrt(60) * 128     | 1024              |
| `SCORES`      | a network and a softmax or sigmoid               | 3 * 1024          |
| `NOISE`       | the same, of an image of random pixels           | 8 * 1024          |

`SCORES`, those of whole detectors: a logit of up to 12 is wrong by 12 * `NETWORK`, its
score by 1/4 of that, the slope of sigmoid. (1.2e-4 was seen between processors.) In two
stages a proposal is also wrong by up to `NETWORK` of the image's side: 0.02 of 192
pixels, 1/170 of a cell of stride 4. In `NOISE` features change from cell to cell as
much as they can: 5.5e-4 was seen, between a compiled and an eager detector on a
processor with AVX2. Box deltas are below 1, so that a box is wrong by `NETWORK` times
the longest side of the image (see `detections`).

Half precision: TensorFlow adds in float32 and rounds each result by up to eps / 2, so
that the growth counts results and not terms: 1 for `ELEMENTWISE`, computed in float32
and rounded once, and 4 for `REDUCTION`, up to eight layers in turn. No test compares
what is deeper.

The allowed error is `tolerance * |expected|` for what is elementwise and for sums of
one sign. In a network terms cancel, so that it is `tolerance * scale`, where `scale` is
the largest |expected|. A test of other sums that cancel gives the scale of their terms.

Not from this table, and written where they are used: the error of finite differences
(of their step), of means of random draws (of the number of draws), of figures that a
paper or another program gives with few digits, of float64, and of pixels of pictures.

Exact equality is claimed where the same operations run in the same process, or where
nothing is rounded (copies, choices, counts).
"""

from __future__ import annotations

import numpy as np

ELEMENTWISE, REDUCTION = "elementwise", "reduction"
NETWORK, SCORES, NOISE = "network", "scores", "noise"
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_HALF = {ELEMENTWISE: 1, REDUCTION: 4}
GROWTH = {
    "float32": {
        ELEMENTWISE: 16,
        REDUCTION: 128,
        NETWORK: 1024,
        SCORES: 3 * 1024,
        NOISE: 8 * 1024,
    },
    "float16": _HALF,
    "bfloat16": _HALF,
}


def tolerance(of: str, dtype: str = "float32") -> float:
    """Of numbers of size 1: `eps * growth` from the table."""
    return EPS[dtype] * GROWTH[dtype][of]


def assert_close(actual, expected, *, of, dtype="float32", scale=None, err_msg=""):
    """Each |actual - expected| is at most what the table allows.

    Args:
        actual: Numbers of any shape.
        expected: Numbers of that shape, or a scalar.
        of: Depth of the computation, one of the table's for `dtype`.
        dtype: In which it was computed: "float32", "float16" or "bfloat16".
        scale: Size of the terms that were added up or subtracted. Default: that of
            the largest |expected| in a network, else 0 (nothing cancels).
        err_msg: Told with a failure.
    """
    __tracebackhide__ = True
    actual, expected = (np.asarray(x, np.float64) for x in (actual, expected))
    allowed, cancels = tolerance(of, dtype), of in (NETWORK, SCORES, NOISE)
    if scale is None:
        finite = np.abs(expected[np.isfinite(expected)])
        scale = finite.max(initial=0.0) if cancels else 0.0
    np.testing.assert_allclose(
        actual,
        expected,
        rtol=0.0 if cancels else allowed,
        atol=allowed * scale,
        err_msg=err_msg,
    )


def assert_rounds_to(actual, expected):
    """A result of one layer in half precision, to the same in float32.

    Args:
        actual: Tensor of a half type.
        expected: Tensor of float32; terms of the size of its largest cancel.
    """
    __tracebackhide__ = True
    assert_close(
        np.asarray(actual, np.float32),
        expected,
        of=REDUCTION,
        dtype=actual.dtype.name,
        scale=np.abs(expected).max(),
    )
