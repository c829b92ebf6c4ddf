"""The backbone: padding, groups, norms and names; numbers are in the stages' test."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import NETWORK, REDUCTION, assert_close

from libra_tf.layers import torch_resnet
from libra_tf.layers.torch_resnet import GroupedConv2D, ResNetShape, TorchResNet
from libra_tf.models.backbone import freeze_stages


def convolve(x, kernel, stride, pad, groups=1):
    """By loops over the cells: [H, W, C], padded on all sides alike."""
    x = np.pad(x, [[pad, pad], [pad, pad], [0, 0]])
    size, outputs = kernel.shape[0], kernel.shape[3]
    rows, columns = ((n - size) // stride + 1 for n in x.shape[:2])
    result = np.zeros([rows, columns, outputs])
    inner, outer = kernel.shape[2], outputs // groups
    for i, j in np.ndindex(rows, columns):
        window = x[i * stride : i * stride + size, j * stride : j * stride + size]
        for g in range(groups):
            part = window[..., g * inner : (g + 1) * inner]
            own = kernel[..., g * outer : (g + 1) * outer]
            result[i, j, g * outer : (g + 1) * outer] = np.tensordot(part, own, 3)
    return result


def part(model, first, last):
    """The function from the input of layer `first` to the output of `last`."""
    start = model.get_layer(first).input
    return tf_keras.Model(start, model.get_layer(last).output)


@pytest.fixture(scope="module")
def resnext():
    return TorchResNet(50, base_channels=8, groups=4, width_per_group=2)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_the_stem_pads_both_sides(resnext, size):
    x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    kernel = resnext.get_layer("conv1").kernel.numpy()
    y = convolve(x[0], kernel, 2, 3)
    stem = part(resnext, "conv1.pad", "conv1")(x)
    assert_close(stem[0], y, of=NETWORK, scale=1.0)
    y = np.maximum(y / np.sqrt(1 + 1e-5), 0)
    y = np.pad(y, [[1, 1], [1, 1], [0, 0]], constant_values=-np.inf)
    rows, columns = (-(-n // 4) for n in size)
    pooled = [
        [y[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(columns)]
        for i in range(rows)
    ]
    found = part(resnext, "conv1.pad", "maxpool")(x)
    assert_close(found[0], pooled, of=NETWORK, scale=1.0)


def test_stride_and_groups_are_in_the_3x3(resnext):
    first = resnext.get_layer("layer2.0.conv2")
    assert (first.strides, first.groups) == ((2, 2), 4)
    assert resnext.get_layer("layer2.0.conv1").strides == (1, 1)
    assert resnext.get_layer("layer2.0.downsample.0").strides == (2, 2)
    x = np.random.default_rng(1).normal(size=(1, 7, 9, 16)).astype(np.float32)
    found = part(resnext, "layer2.0.conv2.pad", "layer2.0.conv2")(x)
    expected = convolve(x[0], first.kernel.numpy(), 2, 1, groups=4)
    assert_close(found[0], expected, of=REDUCTION, scale=1.0)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trace", [tf.function, lambda f: f], ids=["graph", "eager"])
def test_grouped_convolution_is_keras(bias, trace, native, monkeypatch):
    if native and not torch_resnet.has_grouped_gradient():
        pytest.skip("TensorFlow has no gradient of groups here")
    monkeypatch.setattr(torch_resnet, "has_grouped_gradient", lambda: native)
    x = tf.random.stateless_normal([2, 6, 5, 8], [1, 2])
    ours, theirs = (
        kind(12, 3, groups=4, padding="same", use_bias=bias, bias_initializer="ones")
        for kind in (GroupedConv2D, tf_keras.layers.Conv2D)
    )
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.kernel.assign(ours.kernel)

    @trace
    def run(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(layer(x) ** 2)
        return value, *tape.gradient(value, [x, layer.kernel])

    for a, b in zip(run(ours), run(theirs), strict=True):
        assert_close(a, b, of=NETWORK)


def test_sizes_of_the_published_backbones():
    wide = ResNetShape(101, 64, 64, 4)
    assert [wide.inner(k) for k in range(4)] == [256, 512, 1024, 2048]
    assert [wide.outer(k) for k in range(4)] == [256, 512, 1024, 2048]
    plain = ResNetShape(50)
    assert [plain.inner(k) for k in range(4)] == [64, 128, 256, 512]
    specs = TorchResNet(101, base_channels=4).output_specs
    assert {k: s.as_list()[-1] for k, s in specs.items()} == {
        "2": 16, "3": 32, "4": 64, "5": 128
    }  # fmt: skip


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (1, 1)])
def test_levels_are_rounded_up(resnext, size):
    levels = resnext(tf.zeros([2, *size, 3]))
    for level, x in levels.items():
        assert tuple(x.shape[1:3]) == tuple(-(-n // 2 ** int(level)) for n in size)


@pytest.mark.parametrize(
    ("norm", "statistics", "scale"),
    [("fixed", False, False), ("fixed_statistics", False, True), ("batch", True, True)],
)
def test_norms(norm, statistics, scale):
    model = TorchResNet(50, base_channels=2, norm=norm)
    before = model.get_layer("bn1").moving_mean.numpy()
    x = tf.random.stateless_normal([2, 32, 32, 3], [1, 2]) + 1
    model(x, training=True)
    moved = model.get_layer("bn1").moving_mean.numpy() != before
    assert moved.any() == statistics
    names = [v.name for v in model.trainable_variables]
    assert any("gamma" in name for name in names) == scale
    assert not any("moving" in name for name in names)


def test_frozen_stages():
    model = TorchResNet(50, base_channels=2)
    freeze_stages(model, 1)
    names = {v.name.split("/")[0] for v in model.trainable_variables}
    assert not {n for n in names if n.startswith(("conv1", "bn1", "layer1"))}
    assert {"layer2.0.conv1", "layer2.0.bn1"} <= names


def test_stages_of_a_backbone_without_them_cannot_be_frozen():
    model = tf_keras.Sequential([tf_keras.Input([2])], name="other")
    with pytest.raises(ValueError, match="block_group_l2, which other does not have"):
        freeze_stages(model, 1)


def test_config_round_trip(resnext):
    twin = TorchResNet.from_config(resnext.get_config())
    twin.set_weights(resnext.get_weights())
    x = tf.random.stateless_normal([1, 40, 40, 3], [1, 2])
    for a, b in zip(resnext(x).values(), twin(x).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_messages():
    with pytest.raises(ValueError, match="depth must be one of"):
        TorchResNet(18)
    with pytest.raises(ValueError, match="norm must be one of fixed"):
        TorchResNet(50, norm="group")
    with pytest.raises(ValueError, match="groups must be >= 1, got 0"):
        TorchResNet(50, groups=0)
