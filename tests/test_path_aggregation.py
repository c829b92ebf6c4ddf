"""layers.path_aggregation: the reference's windows; models.neck: what it builds."""

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
)

from libra_tf.experiments import model_config
from libra_tf.layers import BalancedFeaturePyramid, NonLocalBlock
from libra_tf.layers.path_aggregation import PathAggregation
from libra_tf.models.neck import DecoderWithNeck, NeckChain, add_neck, checkpoint_parts

UNEVEN = ((9, 14), (5, 7), (3, 4), (2, 2))


def pyramid(sizes=((8, 8), (4, 4), (2, 2)), channels=6, batch=2, first=3):
    rng = np.random.default_rng(0)
    return {
        str(first + i): tf.constant(
            rng.normal(size=(batch, *size, channels)), tf.float32
        )
        for i, size in enumerate(sizes)
    }


def randomized(features, **kwargs):
    """A layer with biases large enough to see each of them."""
    layer = PathAggregation(**kwargs)
    layer.build({level: x.shape for level, x in features.items()})
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) * 0.2 for w in layer.get_weights()])
    return layer


def convolve(x, conv, stride):
    """3 x 3 windows of `x` padded with one cell on each side, in float64."""
    x = np.pad(np.asarray(x, np.float64), [[0, 0], [1, 1], [1, 1], [0, 0]])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijcd->bhwd", windows, conv.kernel) + conv.bias.numpy()


def set_identity(conv, scale):
    """The centre of the window times `scale`, no bias."""
    kernel = np.zeros(conv.kernel.shape)
    kernel[1, 1] = scale * np.eye(kernel.shape[-1])
    conv.set_weights([kernel, np.zeros(conv.bias.shape)])


def test_by_hand():
    """With centres only: N = P + 10 * (every other cell of the level before)."""
    features = {
        "3": tf.reshape(tf.range(16.0), [1, 4, 4, 1]),
        "4": tf.constant([[100.0, 200], [300, 400]])[tf.newaxis, ..., tf.newaxis],
        "5": tf.constant([[[[1000.0]]]]),
    }
    layer = PathAggregation()
    layer(features)
    for level in ("4", "5"):
        set_identity(layer.downsample[level], 10)
        set_identity(layer.output_convs[level], 2)
    out = layer(features)
    np.testing.assert_array_equal(out["3"], features["3"])
    # Cells 0, 2, 8 and 10; the path to level 5 takes them before `output`.
    np.testing.assert_array_equal(out["4"][0, ..., 0], [[200, 440], [760, 1000]])
    np.testing.assert_array_equal(out["5"][0, ..., 0], [[2 * (1000 + 10 * 100)]])


@pytest.mark.parametrize("sizes", [((8, 8), (4, 4), (2, 2)), UNEVEN])
def test_formula(sizes):
    features = pyramid(sizes)
    layer = randomized(features)
    out = layer(features)
    levels = list(features)
    current = features[levels[0]].numpy()
    np.testing.assert_array_equal(out[levels[0]], current)
    for level in levels[1:]:
        down = convolve(current, layer.downsample[level], 2)
        current = features[level].numpy() + down
        expected = convolve(current, layer.output_convs[level], 1)
        assert_close(out[level], expected, of=NETWORK)


def test_number_of_parameters():
    layer = PathAggregation()
    layer.build({str(k): [None, 2 ** (9 - k), 2 ** (9 - k), 256] for k in range(2, 7)})
    assert layer.count_params() == 4 * 2 * 590_080
    assert all(np.all(conv.bias == 0) for conv in layer.downsample.values())
    limit = np.sqrt(6 / (2 * 9 * 256))
    for conv in (*layer.downsample.values(), *layer.output_convs.values()):
        assert np.abs(conv.kernel).max() == pytest.approx(limit, rel=1e-3)


def test_levels_are_sorted_as_numbers_and_keys_kept():
    features = pyramid(first=9)
    layer = randomized(features)
    shuffled = layer({key: features[key] for key in ("10", "11", "9")})
    assert list(shuffled) == ["10", "11", "9"]
    for level, expected in layer(features).items():
        np.testing.assert_array_equal(shuffled[level], expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_xla_and_unknown_batch(jit_compile):
    features = pyramid(UNEVEN)
    layer = randomized(features)
    spec = {k: tf.TensorSpec([None, *v.shape[1:]]) for k, v in features.items()}
    actual = tf.function(layer, [spec], jit_compile=jit_compile)(features)
    for level, expected in layer(features).items():
        assert_close(actual[level], expected, of=NETWORK)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    features = pyramid(UNEVEN)
    layer = randomized(features, dtype=policy)
    out = layer(features)
    assert {x.dtype for x in out.values()} == {tf.as_dtype(layer.compute_dtype)}
    assert {w.dtype for w in layer.weights} == {tf.float32}
    for level, expected in randomized(features)(features).items():
        assert_rounds_to(out[level], expected)


def test_a_batch_equals_its_images():
    features = pyramid(batch=3)
    layer = randomized(features)
    whole = layer(features)
    for i in range(3):
        single = layer({k: v[i : i + 1] for k, v in features.items()})
        for level in features:
            assert_close(single[level][0], whole[level][i], of=REDUCTION, scale=1.0)


def test_gradient_reaches_all_weights_and_finer_levels():
    features = pyramid(UNEVEN)
    layer = randomized(features)
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(layer(features)["6"] ** 2)
    on_path = [layer.output_convs["6"], *layer.downsample.values()]
    weights = [weight for conv in on_path for weight in conv.weights]
    for gradient in tape.gradient(total, [weights, list(features.values())])[0]:
        assert np.any(gradient.numpy() != 0)


def test_gradient_against_finite_differences():
    features = {k: tf.cast(v, tf.float64) for k, v in pyramid(batch=1).items()}
    layer = randomized(features, dtype="float64")

    def total(first):
        out = layer({**features, "3": first})
        return sum(tf.reduce_sum(x**2) for x in out.values())

    with tf.GradientTape() as tape:
        tape.watch(features["3"])
        value = total(features["3"])
    gradient = tape.gradient(value, features["3"])
    step = np.random.default_rng(3).normal(size=gradient.shape) * 1e-5
    slope = (total(features["3"] + step) - total(features["3"] - step)) / 2
    assert_close(slope, np.sum(gradient * step), of=ELEMENTWISE)


def test_comes_back_from_its_config():
    layer = PathAggregation(
        kernel_regularizer=tf_keras.regularizers.L2(0.1), seed=3, dtype="mixed_bfloat16"
    )
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(layer))
    assert isinstance(restored, PathAggregation)
    assert restored.get_config() == layer.get_config()
    restored(pyramid())
    assert len(restored.losses) == 4


def test_a_model_with_it_is_saved_and_loaded(tmp_path):
    features = pyramid()
    inputs = {k: tf_keras.Input(v.shape[1:], name=f"c{k}") for k, v in features.items()}
    model = tf_keras.Model(inputs, PathAggregation()(inputs))
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    for level, expected in model(features).items():
        np.testing.assert_array_equal(loaded(features)[level], expected)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (pyramid(((8, 8),)), "at least two levels"),
        ({"p3": tf.zeros([1, 2, 2, 1]), "4": tf.zeros([1, 1, 1, 1])}, "as strings"),
        (pyramid(((8, 8), (4, 5))), r"level 4 .* \(4, 4\), half .* 3 .* got \(4, 5\)"),
        (pyramid(((9, 9), (4, 4))), r"level 4 must have the size \(5, 5\)"),
        (
            {"3": tf.zeros([1, 2, 2, 1]), "4": tf.zeros([1, 1, 1, 2])},
            "same known channels.*'4': 2",
        ),
    ],
)
def test_messages(features, message):
    with pytest.raises(ValueError, match=message):
        PathAggregation()(features)


def test_unknown_sizes():
    spec = {"3": tf.TensorSpec([1, None, 8, 2]), "4": tf.TensorSpec([1, 4, 4, 2])}
    with pytest.raises(ValueError, match="must be known"):
        tf.function(PathAggregation(), [spec]).get_concrete_function()


SEEDED = {
    "path_aggregation": PathAggregation,
    "conv": lambda **kwargs: BalancedFeaturePyramid(refine="conv", **kwargs),
    "non_local": lambda **kwargs: BalancedFeaturePyramid(
        conv_out_initializer="glorot_uniform", **kwargs
    ),
}


def kernels(make, features, **kwargs):
    layer = make(**kwargs)
    layer(features)
    return [w.numpy() for w in layer.weights if "kernel" in w.name]


def next_draw():
    """The next kernel that Keras draws from the global stream."""
    return tf_keras.initializers.RandomNormal()([3]).numpy().tolist()


@pytest.mark.parametrize("name", SEEDED)
def test_the_seed_decides_and_nothing_is_drawn_from_the_global_stream(name):
    features = pyramid()
    tf_keras.utils.set_random_seed(5)
    expected = next_draw()
    tf_keras.utils.set_random_seed(5)
    first = kernels(SEEDED[name], features, seed=1)
    assert next_draw() == expected
    again = kernels(SEEDED[name], features, seed=1)
    other = kernels(SEEDED[name], features, seed=2)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a != c)
    # All differ, also from those of the next seed.
    assert len({a.tobytes() for a in first + other}) == 2 * len(first)
    tf_keras.utils.set_random_seed(5)
    unseeded = kernels(SEEDED[name], features)
    assert next_draw() != expected
    assert len({a.tobytes() for a in unseeded}) == len(first)


def test_a_seeded_layer_comes_back_from_its_config():
    for layer in (NonLocalBlock(seed=4), BalancedFeaturePyramid(seed=4)):
        restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(layer))
        assert restored.seed == 4
        assert restored.get_config() == layer.get_config()


class Decoder(tf_keras.Model):
    """Hands on its inputs, times a weight."""

    def __init__(self, features):
        super().__init__()
        self.output_specs = {k: tf.TensorShape(v.shape) for k, v in features.items()}
        self.scale = self.add_weight(name="scale", initializer="ones")

    def call(self, features):
        return {level: self.scale * x for level, x in features.items()}


def test_each_type_of_neck():
    features = pyramid()
    decoder = Decoder(features)
    assert add_neck(decoder, model_config.Neck(type="none")) is decoder
    kinds = {
        "balanced_feature_pyramid": BalancedFeaturePyramid,
        "path_aggregation": PathAggregation,
        "balanced_path_aggregation": NeckChain,
    }
    assert {"none", *kinds} == set(model_config.NECKS)
    for name, kind in kinds.items():
        model = add_neck(decoder, model_config.Neck(type=name), seed=1)
        assert isinstance(model.neck, kind)
        assert model.output_specs == decoder.output_specs
        assert model.neck.weights
        for level, x in model(features).items():
            assert x.shape == features[level].shape
            assert np.all(np.isfinite(x))


def test_a_chain_is_one_neck_after_the_other():
    features = pyramid()
    config = model_config.Neck(type="balanced_path_aggregation", refine="conv")
    model = add_neck(Decoder(features), config, seed=1)
    first, second = model.neck.necks
    assert isinstance(first, PathAggregation)
    assert isinstance(second, BalancedFeaturePyramid)
    assert len(model.trainable_weights) == 1 + 8 + 2
    expected = second(first(features))
    for level, x in model(features).items():
        np.testing.assert_array_equal(x, expected[level])
    # Each starts as it would alone.
    alone = add_neck(
        Decoder(features), model_config.Neck(type="path_aggregation"), seed=1
    )
    for a, b in zip(alone.neck.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_chain_comes_back_from_its_config():
    chain = NeckChain([PathAggregation(seed=1), BalancedFeaturePyramid(seed=2)])
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(chain))
    assert restored.get_config() == chain.get_config()
    features = pyramid()
    for level, x in chain(features).items():
        np.testing.assert_array_equal(restored(features)[level], x)


def test_parts_of_a_checkpoint(tmp_path):
    features = pyramid()
    config = model_config.Neck(type="balanced_path_aggregation")
    models = [add_neck(Decoder(features), config, seed=seed) for seed in (1, 2)]
    parts = [checkpoint_parts({"decoder": m, "head": m.decoder}) for m in models]
    assert set(parts[0]) == {"decoder", "neck", "head"}
    assert not isinstance(parts[0]["decoder"], DecoderWithNeck)
    assert parts[0]["neck"] is models[0].neck
    path = tf.train.Checkpoint(**parts[0]).write(str(tmp_path / "parts"))
    status = tf.train.Checkpoint(neck=parts[1]["neck"]).read(path)
    status.assert_existing_objects_matched()
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
