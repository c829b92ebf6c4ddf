"""layers.objectness: the two steps, the layout, and the start of the released code."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import (
    ELEMENTWISE,
    NETWORK,
    REDUCTION,
    assert_close,
    assert_rounds_to,
    tolerance,
)

from libra_tf.layers.objectness import ResidualObjectness

DENSE = {"num_anchors": 1, "kernel_size": None}
CONV = {"num_anchors": 2}
SHAPES = {"dense": (3, 5, 6), "conv": (3, 4, 5, 6)}
SETTINGS = {"dense": DENSE, "conv": CONV}
PARTS = ("first", "second", "first_score", "second_score", "class_score")


def features(shape, scale=1.0):
    return tf.constant(np.random.default_rng(0).normal(size=shape) * scale, tf.float32)


def randomized(shape, **kwargs):
    """A layer of 4 classes whose biases are large enough to see each of them."""
    layer = ResidualObjectness(4, **kwargs)
    layer.build([None, *shape[1:]])
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) * 0.3 for w in layer.get_weights()])
    return layer


def apply(layer, x):
    """A 3 x 3 convolution with padding, or a dense layer, in float64."""
    kernel, bias = (np.asarray(w, np.float64) for w in layer.get_weights())
    if kernel.ndim == 2:
        return x @ kernel + bias
    x = np.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("bhwcij,ijcd->bhwd", windows, kernel) + bias


@pytest.mark.parametrize("kind", SETTINGS)
def test_formula(kind):
    layer = randomized(SHAPES[kind], **SETTINGS[kind])
    x = features(SHAPES[kind])
    wide = x.numpy().astype(np.float64)
    first = np.maximum(apply(layer.first, wide), 0)
    second = np.maximum(apply(layer.second, first), 0)
    objectness = apply(layer.first_score, first) + apply(layer.second_score, second)
    classes = apply(layer.class_score, wide)
    out = layer(x).numpy()
    anchors = layer.num_anchors
    assert out.shape == (*SHAPES[kind][:-1], anchors * 4)
    per_anchor = out.reshape(*SHAPES[kind][:-1], anchors, 4)
    assert_close(per_anchor[..., 0], objectness, of=NETWORK)
    expected = classes.reshape(*SHAPES[kind][:-1], anchors, 3)
    assert_close(per_anchor[..., 1:], expected, of=NETWORK)


def test_start_of_the_released_code():
    """RetinaNet of COCO: 80 classes, 9 anchors, 256 channels."""
    layer = ResidualObjectness(81, 9)
    layer.build([None, 4, 4, 256])
    assert layer.count_params() == 2 * 590_080 + (9 * 256 + 1) * 9 * (1 + 1 + 80)
    for hidden in (layer.first, layer.second):
        bound = 1 / math.sqrt(9 * 256)
        assert np.abs(hidden.kernel).max() == pytest.approx(
            bound, rel=tolerance(NETWORK)
        )
        assert np.std(hidden.kernel) == pytest.approx(bound / math.sqrt(3), rel=0.01)
        assert np.all(hidden.bias == 0)
    for score in (layer.first_score, layer.second_score, layer.class_score):
        assert np.std(score.kernel) == pytest.approx(0.01, rel=0.02)
    assert_close(layer.first_score.bias, -6.906755, of=ELEMENTWISE)
    assert_close(layer.second_score.bias, -6.906755, of=ELEMENTWISE)
    assert_close(layer.class_score.bias, -4.36945, of=ELEMENTWISE)
    out = tf.reshape(layer(tf.zeros([1, 4, 4, 256])), [-1, 81])
    assert_close(out[:, 0], -13.8135, of=ELEMENTWISE)
    np.testing.assert_allclose(tf.sigmoid(out[:, 0]), 1.0e-6, rtol=0.01)
    assert_close(tf.sigmoid(out[:, 1:]), 1 / 80, of=REDUCTION)


@pytest.mark.parametrize(("num_classes", "bias"), [(2, 0), (3, 0), (4, -math.log(2))])
def test_prior_of_few_classes(num_classes, bias):
    """One class alone has the prior 1, whose logit is infinite."""
    layer = ResidualObjectness(num_classes)
    layer.build([None, 4, 4, 3])
    assert_close(layer.class_score.bias, bias, of=ELEMENTWISE)


def test_other_biases():
    layer = ResidualObjectness(4, objectness_bias=-1.0, class_bias=0.5, **DENSE)
    out = layer(tf.zeros([1, 2, 3]))
    np.testing.assert_allclose(out[0, 0], [-2, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("kind", SETTINGS)
def test_gradient_reaches_all_weights(kind):
    layer = randomized(SHAPES[kind], **SETTINGS[kind])
    x = features(SHAPES[kind])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(x) ** 2)
    gradients = tape.gradient(total, layer.trainable_variables)
    assert len(gradients) == 10
    assert all(np.any(gradient.numpy() != 0) for gradient in gradients)


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_classes_do_not_train_the_objectness(kind):
    layer = randomized(SHAPES[kind], **SETTINGS[kind])
    x = features(SHAPES[kind])
    with tf.GradientTape() as tape:
        out = tf.reshape(layer(x), [-1, 4])
        total = tf.reduce_sum(out[:, 1:] ** 2)
    own = [layer.first, layer.second, layer.first_score, layer.second_score]
    weights = [weight for part in own for weight in part.weights]
    zero = tf.UnconnectedGradients.ZERO
    for gradient in tape.gradient(total, weights, unconnected_gradients=zero):
        assert np.all(gradient == 0)


def test_gradient_against_finite_differences():
    layer = randomized(SHAPES["dense"], dtype="float64", **DENSE)
    x = tf.cast(features(SHAPES["dense"]), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x) ** 2)
    gradient = tape.gradient(total, x).numpy()
    step = np.random.default_rng(3).normal(size=x.shape) * 1e-6
    high = tf.reduce_sum(layer(x + step) ** 2)
    low = tf.reduce_sum(layer(x - step) ** 2)
    assert_close((high - low) / 2, np.sum(gradient * step), of=REDUCTION)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_xla_and_unknown_batch(kind, jit_compile):
    layer = randomized(SHAPES[kind], **SETTINGS[kind])
    x = features(SHAPES[kind])
    spec = tf.TensorSpec([None, *x.shape[1:]])
    traced = tf.function(layer, [spec], jit_compile=jit_compile)
    assert_close(traced(x), layer(x), of=NETWORK)
    shape = traced.get_concrete_function().output_shapes
    assert shape.as_list() == [None, *layer(x).shape[1:]]
    assert layer.compute_output_shape(x.shape) == layer(x).shape


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_mixed_precision(kind, policy):
    x = features(SHAPES[kind])
    narrow = randomized(SHAPES[kind], dtype=policy, **SETTINGS[kind])
    wide = randomized(SHAPES[kind], **SETTINGS[kind])(x)
    assert narrow(x).dtype == tf.as_dtype(narrow.compute_dtype)
    assert {w.dtype for w in narrow.weights} == {tf.float32}
    assert_rounds_to(narrow(x), wide)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_batch_equals_its_images(kind):
    layer = randomized(SHAPES[kind], **SETTINGS[kind])
    x = features(SHAPES[kind])
    for i in range(len(x)):
        assert_close(layer(x)[i], layer(x[i : i + 1])[0], of=REDUCTION, scale=1.0)


def test_no_rois():
    layer = randomized(SHAPES["dense"], **DENSE)
    assert layer(features((3, 0, 6))).shape == (3, 0, 4)


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_seed_decides_and_nothing_is_drawn_from_the_global_stream(kind):
    def kernels(seed):
        layer = ResidualObjectness(4, seed=seed, **SETTINGS[kind])
        layer.build([None, *SHAPES[kind][1:]])
        return [getattr(layer, part).kernel.numpy() for part in PARTS]

    def next_draw():
        return tf_keras.initializers.RandomNormal()([3]).numpy().tolist()

    tf_keras.utils.set_random_seed(5)
    expected = next_draw()
    tf_keras.utils.set_random_seed(5)
    first, again, other = kernels(1), kernels(1), kernels(2)
    assert next_draw() == expected
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a != c)
    assert len({a.tobytes() for a in first}) == len(PARTS)
    assert len({a.tobytes() for a in kernels(None)}) == len(PARTS)
    assert next_draw() != expected


@pytest.mark.parametrize("kind", SETTINGS)
def test_comes_back_from_its_config(kind):
    layer = ResidualObjectness(
        5,
        objectness_bias=-2.0,
        class_bias=0.25,
        kernel_regularizer=tf_keras.regularizers.L2(0.1),
        bias_regularizer=tf_keras.regularizers.L1(0.2),
        seed=3,
        dtype="mixed_bfloat16",
        **SETTINGS[kind],
    )
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(layer))
    assert isinstance(restored, ResidualObjectness)
    assert restored.get_config() == layer.get_config()
    x = features(SHAPES[kind])
    np.testing.assert_array_equal(
        tf.cast(restored(x), tf.float32), tf.cast(layer(x), tf.float32)
    )
    assert len(restored.losses) == 10


def test_a_model_with_it_is_saved_and_loaded(tmp_path):
    inputs = tf_keras.Input([4, 5, 6])
    model = tf_keras.Model(inputs, ResidualObjectness(4, 2)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    x = features(SHAPES["conv"])
    np.testing.assert_array_equal(loaded(x), model(x))


def test_names_of_the_parts():
    layer = randomized(SHAPES["conv"], **CONV)
    names = {weight.name.split(":")[0] for weight in layer.weights}
    for part in PARTS:
        for kind in ("kernel", "bias"):
            assert any(name.endswith(f"{part}/{kind}") for name in names), names


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"num_classes": 3, "num_anchors": 0}, "num_anchors must be at least 1, got 0"),
        ({"num_classes": 3, "kernel_size": 0}, "kernel_size must be None or >= 1"),
    ],
)
def test_messages(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResidualObjectness(**kwargs)


def test_unknown_channels():
    with pytest.raises(ValueError, match="channels of x must be known"):
        ResidualObjectness(3).build([None, 4, 4, None])
