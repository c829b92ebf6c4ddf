"""The pyramid: top-down path on odd sizes, extra levels of each kind."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from test_torch_resnet import convolve
from tolerances import REDUCTION, assert_close

from libra_tf.layers.torch_fpn import EXTRA_LEVELS, TorchFPN

CHANNELS = {"2": 4, "3": 5, "4": 6, "5": 7}
SPECS = {k: tf.TensorShape([None, None, None, c]) for k, c in CHANNELS.items()}


def backbone(size, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {k: [-(-n // 2 ** int(k)) for n in size] for k in CHANNELS}
    return {
        k: rng.normal(size=(1, *shapes[k], c)).astype(np.float32)
        for k, c in CHANNELS.items()
    }


def by_loops(fpn, inputs, first, last, extra, relu):
    """Lateral, top-down, output and extra levels in numpy."""

    def conv(name, x, stride, pad):
        layer = fpn.get_layer(name)
        return convolve(x, layer.kernel.numpy(), stride, pad) + layer.bias.numpy()

    top = min(last, 5)
    lateral = {
        k: conv(f"lateral_{k}", inputs[str(k)][0], 1, 0) for k in range(first, top + 1)
    }
    for k in range(top - 1, first - 1, -1):
        rows, columns = lateral[k].shape[:2]
        high, wide = lateral[k + 1].shape[:2]
        row = np.arange(rows) * high // rows
        column = np.arange(columns) * wide // columns
        lateral[k] = lateral[k] + lateral[k + 1][row][:, column]
    outputs = {k: conv(f"output_{k}", x, 1, 1) for k, x in lateral.items()}
    x = {"on_input": inputs[str(top)][0], "on_lateral": lateral[top]}.get(
        extra, outputs[top]
    )
    for k in range(top + 1, last + 1):
        if extra == "max_pool":
            x = x[::2, ::2]
        else:
            if relu and k > top + 1:
                x = np.maximum(x, 0)
            x = conv(f"output_{k}", x, 2, 1)
        outputs[k] = x
    return outputs


@pytest.mark.parametrize("extra", EXTRA_LEVELS)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("first", "last"), [(2, 6), (3, 7), (2, 5)])
def test_levels_by_loops(extra, relu, first, last):
    fpn = TorchFPN(SPECS, first, last, 8, extra, relu)
    for layer in fpn.layers:
        if hasattr(layer, "bias"):
            layer.bias.assign(tf.random.stateless_normal(layer.bias.shape, [1, 2]))
    inputs = backbone((90, 150))
    found = fpn(inputs)
    expected = by_loops(fpn, inputs, first, last, extra, relu)
    assert sorted(found) == [str(k) for k in expected]
    for k, x in expected.items():
        assert_close(found[str(k)][0], x, of=REDUCTION, scale=1.0)


def test_known_sizes_are_known_in_the_result():
    specs = {
        k: tf.TensorShape([None, *x.shape[1:]]) for k, x in backbone((64, 96)).items()
    }
    fpn = TorchFPN(specs, 2, 6, 8)
    assert fpn.output_specs["2"].as_list() == [None, 16, 24, 8]
    assert fpn.output_specs["6"].as_list() == [None, 1, 2, 8]
    assert TorchFPN(SPECS, 2, 6, 8).output_specs["6"].as_list() == [None, None, None, 8]


def test_config_round_trip():
    fpn = TorchFPN(SPECS, 3, 7, 8, "on_input")
    twin = TorchFPN.from_config(fpn.get_config())
    twin.set_weights(fpn.get_weights())
    inputs = backbone((64, 64))
    for a, b in zip(fpn(inputs).values(), twin(inputs).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_messages():
    with pytest.raises(ValueError, match="extra_levels must be one of"):
        TorchFPN(SPECS, extra_levels="conv")
    with pytest.raises(ValueError, match="min_level 1 is not among"):
        TorchFPN(SPECS, min_level=1)
