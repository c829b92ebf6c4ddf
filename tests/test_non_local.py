"""layers.non_local: the formula, the start, and half precision."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import NETWORK, REDUCTION, assert_close, assert_rounds_to

from libra_tf.layers import NonLocalBlock


def features(*shape, scale=1.0):
    return tf.constant(np.random.default_rng(0).normal(size=shape) * scale, tf.float32)


def randomized(**kwargs):
    """A block with kernels and biases large enough to see each of them."""
    block = NonLocalBlock(**kwargs)
    block.build([None, None, None, 6])
    assert len(block.weights) == 8
    rng = np.random.default_rng(1)
    block.set_weights([rng.normal(size=w.shape) for w in block.get_weights()])
    return block


@pytest.mark.parametrize("reduction", [1, 2])
def test_formula(reduction):
    block = randomized(reduction=reduction)
    x = features(2, 3, 4, 6)
    flat = x.numpy().reshape(2, 12, 6).astype(np.float64)

    def conv(layer, values):
        return values @ layer.kernel.numpy()[0, 0] + layer.bias.numpy()

    logits = np.einsum("bic,bjc->bij", conv(block.theta, flat), conv(block.phi, flat))
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    gathered = weights @ conv(block.g, flat)
    expected = (flat + conv(block.conv_out, gathered)).reshape(x.shape)
    assert_close(block(x), expected, of=NETWORK)


def test_number_of_parameters():
    block = NonLocalBlock()
    block.build([None, 8, 8, 256])
    assert block.count_params() == 263_168


def test_start():
    block = NonLocalBlock()
    x = features(2, 5, 4, 64)
    np.testing.assert_array_equal(block(x), x)
    kernels = [block.theta.kernel, block.phi.kernel, block.g.kernel]
    for kernel in kernels:
        assert np.std(kernel) == pytest.approx(0.01, rel=0.1)
    assert np.any(kernels[0].numpy() != kernels[1].numpy())
    block = NonLocalBlock(conv_out_initializer="glorot_uniform")
    assert np.any(block(x).numpy() != x.numpy())


def test_names_of_the_parts():
    names = {weight.name.split(":")[0] for weight in randomized().weights}
    for part in ("theta", "phi", "g", "conv_out"):
        for kind in ("kernel", "bias"):
            assert any(name.endswith(f"{part}/{kind}") for name in names), names


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    block = randomized(dtype=policy)
    assert all(weight.dtype == tf.float32 for weight in block.weights)
    # Logits far above the largest float16 (65504).
    x = features(1, 4, 4, 6, scale=200.0)
    y = block(x)
    assert y.dtype == tf_keras.mixed_precision.Policy(policy).compute_dtype
    assert np.all(np.isfinite(tf.cast(y, tf.float32)))


def test_mixed_precision_is_near_float32():
    wide, narrow = randomized(), randomized(dtype="mixed_bfloat16")
    x = features(1, 4, 4, 6, scale=0.3)
    found = narrow(x)
    assert found.dtype == tf.bfloat16
    assert_rounds_to(found, wide(x))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_xla_and_unknown_shape(jit_compile):
    block = randomized()
    x = features(2, 3, 4, 6)
    shape = [None, 3, 4, 6] if jit_compile else [None, None, None, 6]
    traced = tf.function(block, [tf.TensorSpec(shape)], jit_compile=jit_compile)
    assert_close(traced(x), block(x), of=NETWORK)


def test_gradient_against_finite_differences():
    block = randomized(dtype="float64")
    x = tf.cast(features(1, 2, 2, 6), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(block(x) ** 2)
    gradient = tape.gradient(total, x).numpy()
    for i in (0, 7, 23):
        # The logits are float32: a step far above their rounding.
        step = np.zeros(24)
        step[i] = 1e-2
        ends = [
            tf.reduce_sum(block(x + s * step.reshape(x.shape)) ** 2) for s in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / 2e-2
        np.testing.assert_allclose(gradient.flat[i], slope, rtol=2e-2, atol=1e-2)


def test_batch_equals_its_images_and_empty_batch():
    block = randomized()
    x = features(3, 3, 4, 6)
    singles = [block(x[i : i + 1]) for i in range(3)]
    assert_close(block(x), tf.concat(singles, 0), of=REDUCTION, scale=1.0)
    assert block(x[:0]).shape == [0, 3, 4, 6]


def test_comes_back_from_its_config():
    block = NonLocalBlock(
        reduction=2,
        conv_out_initializer="glorot_uniform",
        kernel_regularizer=tf_keras.regularizers.L2(0.1),
        dtype="mixed_bfloat16",
    )
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(block))
    assert isinstance(restored, NonLocalBlock)
    assert restored.get_config() == block.get_config()
    restored(features(1, 2, 2, 6))
    assert len(restored.losses) == 4
    assert restored.theta.filters == 3


def test_messages():
    with pytest.raises(ValueError, match="reduction must be at least 1, got 0"):
        NonLocalBlock(reduction=0)
    with pytest.raises(ValueError, match="channels of x must be known"):
        NonLocalBlock().build([None, 2, 2, None])
