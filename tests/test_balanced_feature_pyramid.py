"""layers.balanced_feature_pyramid: the reference's numbers on even and uneven sizes."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tolerances import (
    ELEMENTWISE,
    REDUCTION,
    assert_close,
    assert_rounds_to,
    tolerance,
)

from libra_tf.layers import BalancedFeaturePyramid, NonLocalBlock

GOLDEN = Path(__file__).parent / "golden"


def single_channel(*levels, first=3):
    arrays = [np.float32(level)[None, ..., None] for level in levels]
    return {str(first + i): tf.constant(array) for i, array in enumerate(arrays)}


EVEN = single_channel(np.arange(16).reshape(4, 4), [[10, 20], [30, 40]], [[100]])
UNEVEN = single_channel(
    np.arange(25).reshape(5, 5), np.zeros((3, 3)), [[100, 200], [300, 400]]
)


def pyramid(sizes=((8, 8), (4, 4), (2, 2)), channels=6, batch=2, first=3):
    rng = np.random.default_rng(0)
    return {
        str(first + i): tf.constant(
            rng.normal(size=(batch, *size, channels)), "float32"
        )
        for i, size in enumerate(sizes)
    }


def test_even_sizes_by_hand():
    out = BalancedFeaturePyramid(refine=None)(EVEN)
    assert_close(
        out["4"][0, ..., 0], [[48.3333, 62.3333], [77.6667, 91.6667]], of=REDUCTION
    )
    assert_close(out["5"][0, ..., 0], [[151.6667]], of=REDUCTION)
    assert_close(
        out["3"][0, 0, :, 0], [38.3333, 39.3333, 44.3333, 45.3333], of=REDUCTION
    )


def test_uneven_sizes_by_hand():
    out = BalancedFeaturePyramid(refine=None)(UNEVEN)
    integrated = [
        [35.3333, 36, 69.6667],
        [38.6667, 39.3333, 73],
        [107, 107.6667, 141.3333],
    ]
    assert_close(out["4"][0, ..., 0], integrated, of=REDUCTION)
    assert_close(
        out["5"][0, ..., 0], [[139.3333, 273], [407.6667, 541.3333]], of=REDUCTION
    )
    assert_close(
        out["3"][0, -1, :, 0], [127, 128, 129.6667, 130.6667, 165.3333], of=REDUCTION
    )


def golden_case(name, refine):
    with np.load(GOLDEN / f"balanced_feature_pyramid_{refine}.npz") as file:
        prefix = f"{name}/"
        return {k[len(prefix) :]: file[k] for k in file if k.startswith(prefix)}


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("refine", ["none", "conv", "non_local"])
@pytest.mark.parametrize("sizes", ["even", "uneven"])
def test_golden(sizes, refine, level):
    golden = golden_case(f"{sizes}_{refine}_l{level}", refine)
    layer = BalancedFeaturePyramid(
        refine=None if refine == "none" else refine,
        refine_level=2 + int(golden["refine_level"]),
    )
    inputs = {str(2 + i): tf.constant(golden[f"in{i}"]) for i in range(5)}
    layer(inputs)
    parts = {"none": [], "conv": ["conv"]}.get(
        refine, ["theta", "phi", "g", "conv_out"]
    )
    for part in parts:
        block = (
            layer.refinement if refine == "conv" else getattr(layer.refinement, part)
        )
        block.set_weights([golden[f"{part}/kernel"], golden[f"{part}/bias"]])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        total = 0.0
        for out in outputs.values():
            nchw = tf.transpose(out, [0, 3, 1, 2])
            ramp = tf.linspace(0.5, 1.5, tf.size(out))
            total += tf.reduce_sum(tf.reshape(nchw, [-1]) * tf.cast(ramp, tf.float32))
    gradients = tape.gradient(total, inputs)
    for i in range(5):
        for actual, key in ((outputs, "out"), (gradients, "grad")):
            expected = golden[f"{key}{i}"]
            assert_close(
                actual[str(2 + i)],
                expected,
                of=REDUCTION,
                scale=np.abs(expected).max(),
                err_msg=f"{key}{i}",
            )


@pytest.mark.parametrize(
    ("refine", "expected"), [(None, 0), ("conv", 590_080), ("non_local", 263_168)]
)
def test_number_of_parameters(refine, expected):
    layer = BalancedFeaturePyramid(refine=refine)
    layer.build({"3": [None, 4, 4, 256], "4": [None, 2, 2, 256]})
    assert layer.count_params() == expected


def test_the_non_local_start_is_no_refinement():
    features = pyramid()
    plain = BalancedFeaturePyramid(refine=None)(features)
    refined = BalancedFeaturePyramid()(features)
    for level in features:
        np.testing.assert_array_equal(plain[level], refined[level])
        assert np.any(plain[level].numpy() != features[level].numpy())


def test_the_convolution_ends_in_relu():
    layer = BalancedFeaturePyramid(refine="conv")
    features = pyramid()
    out = layer(features)["4"] - features["4"]
    assert np.min(out) == pytest.approx(0, abs=tolerance(ELEMENTWISE))
    assert np.max(out) > 0


def test_levels_are_sorted_as_numbers_and_keys_kept():
    features = pyramid(((8, 8), (4, 4), (2, 2)), first=9)
    shuffled = {key: features[key] for key in ("10", "11", "9")}
    layer = BalancedFeaturePyramid(refine=None, refine_level=10)
    ordered, out = layer(features), layer(shuffled)
    assert list(out) == ["10", "11", "9"]
    for level in features:
        np.testing.assert_array_equal(out[level], ordered[level])


@pytest.mark.parametrize("refine", [None, "conv", "non_local"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_xla_and_unknown_batch(refine, jit_compile):
    features = pyramid(((7, 11), (4, 6), (2, 3)))
    layer = BalancedFeaturePyramid(refine=refine, conv_out_initializer="glorot_uniform")
    expected = layer(features)
    spec = {k: tf.TensorSpec([None, *v.shape[1:]]) for k, v in features.items()}
    actual = tf.function(layer, [spec], jit_compile=jit_compile)(features)
    for level in features:
        assert_close(actual[level], expected[level], of=REDUCTION, scale=1.0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("refine", [None, "conv", "non_local"])
def test_mixed_precision(policy, refine):
    features = pyramid(((7, 11), (4, 6), (2, 3)))
    layer = BalancedFeaturePyramid(refine=refine, dtype=policy)
    with tf.GradientTape() as tape:
        tape.watch(features)
        out = layer(features)
        total = sum(tf.reduce_sum(tf.cast(o, tf.float32)) for o in out.values())
    assert {o.dtype for o in out.values()} == {tf.as_dtype(layer.compute_dtype)}
    assert {w.dtype for w in layer.weights} <= {tf.float32}
    wide = BalancedFeaturePyramid(refine=refine)
    wide(features)
    wide.set_weights(layer.get_weights())
    for level, expected in wide(features).items():
        assert_rounds_to(out[level], expected)
    for gradient in tape.gradient(total, features).values():
        assert np.all(np.isfinite(gradient))


def test_a_batch_equals_its_images():
    features = pyramid(batch=3)
    layer = BalancedFeaturePyramid(conv_out_initializer="glorot_uniform")
    whole = layer(features)
    for i in range(3):
        single = layer({k: v[i : i + 1] for k, v in features.items()})
        for level in features:
            assert_close(single[level][0], whole[level][i], of=REDUCTION, scale=1.0)


def test_all_weights_are_trained():
    features = pyramid()
    for refine, count in (("conv", 2), ("non_local", 8)):
        layer = BalancedFeaturePyramid(
            refine=refine, conv_out_initializer="glorot_uniform"
        )
        with tf.GradientTape() as tape:
            total = sum(tf.reduce_sum(o**2) for o in layer(features).values())
        gradients = tape.gradient(total, layer.trainable_variables)
        assert len(gradients) == count
        assert all(gradient is not None for gradient in gradients)


def test_comes_back_from_its_config():
    layer = BalancedFeaturePyramid(
        refine="non_local",
        refine_level=5,
        conv_out_initializer="glorot_uniform",
        kernel_regularizer=tf_keras.regularizers.L2(0.1),
        dtype="mixed_bfloat16",
    )
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(layer))
    assert isinstance(restored, BalancedFeaturePyramid)
    assert restored.get_config() == layer.get_config()
    restored(pyramid())
    assert isinstance(restored.refinement, NonLocalBlock)
    assert len(restored.losses) == 4


def test_a_model_with_it_is_saved_and_loaded(tmp_path):
    features = pyramid()
    inputs = {k: tf_keras.Input(v.shape[1:], name=f"c{k}") for k, v in features.items()}
    layer = BalancedFeaturePyramid(conv_out_initializer="glorot_uniform")
    model = tf_keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    expected, actual = model(features), loaded(features)
    for level in features:
        np.testing.assert_array_equal(actual[level], expected[level])


@pytest.mark.parametrize(
    ("kwargs", "features", "message"),
    [
        ({"refine_level": 7}, pyramid(), "refine_level 7 is not among .* 3, 4, 5"),
        ({}, {"4": EVEN["4"]}, "at least two levels"),
        ({}, {"p3": EVEN["3"], "4": EVEN["4"]}, "numbers as strings"),
        ({}, {**pyramid(), "4": EVEN["4"]}, "same known channels.*'4': 1"),
    ],
)
def test_messages(kwargs, features, message):
    with pytest.raises(ValueError, match=message):
        BalancedFeaturePyramid(**kwargs)(features)


def test_levels_are_named_in_order_of_number():
    with pytest.raises(ValueError, match="levels 9, 10, 11"):
        BalancedFeaturePyramid()(pyramid(first=9))


def test_unknown_refinement():
    with pytest.raises(ValueError, match="None, conv, non_local, got 'nonlocal'"):
        BalancedFeaturePyramid(refine="nonlocal")
