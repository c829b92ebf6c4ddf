"""samplers.roi_sampler: Model Garden's contract, short pools, seeds and replicas."""

import dataclasses

import numpy as np
import programs
import pytest
import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import roi_sampler as tfm_roi_sampler
from official.vision.ops import box_ops
from tolerances import ELEMENTWISE, REDUCTION, assert_close

from libra_tf.ops.boxes import pairwise_iou
from libra_tf.samplers import MinedRoIs, RoISampler, SamplingRule, select_rois

SEED = (1, 2)


def scene(images=2, proposals=60, seed=0):
    """Proposals around three objects per image, ground truth padded to five."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 300, (images, 3, 2))
    gt = np.concatenate([corner, corner + rng.uniform(50, 150, (images, 3, 2))], -1)
    boxes = np.repeat(gt, -(-proposals // 3), axis=1)[:, :proposals]
    boxes = boxes + rng.normal(0, 25, boxes.shape)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + 5)
    boxes = np.maximum(boxes, 0) + np.array([0, 0, 1, 1])
    gt = np.pad(gt, [[0, 0], [0, 2], [0, 0]], constant_values=-1)
    classes = np.tile([[4, 2, 7, -1, -1]], [images, 1])
    return (
        tf.constant(boxes, tf.float32),
        tf.constant(gt, tf.float32),
        tf.constant(classes, tf.int32),
    )


def sampler_of(**settings):
    """A sampler; what is no setting of the rule is the layer's."""
    names = {field.name for field in dataclasses.fields(SamplingRule)}
    rule = SamplingRule(**{k: v for k, v in settings.items() if k in names})
    return RoISampler(rule, **{k: v for k, v in settings.items() if k not in names})


def select(boxes, gt, *, seed, **settings):
    return select_rois(boxes, gt, rule=SamplingRule(**settings), seed=seed)


def numpy(tensors):
    return [np.asarray(tensor) for tensor in tensors]


def rows(array):
    return {row.tobytes() for row in np.asarray(array)}


def test_one_image_by_hand():
    gt = tf.constant([[[0.0, 0, 10, 10], [20, 20, 30, 30], [-1, -1, -1, -1]]])
    boxes = tf.constant(
        [
            [
                [0.0, 0, 10, 8],  # IoU 0.8 with the first
                [20, 20, 30, 24],  # IoU 0.4 with the second
                [0, 0, 10, 4.5],  # IoU 0.45: in the gap
                [50, 50, 60, 60],  # background
                [0, 0, 0, 0],  # padding of non-maximum suppression
                [-1, -1, -1, -1],
            ]
        ]
    )
    classes = tf.constant([[3, 5, -1]])
    sampler = sampler_of(
        num_sampled_rois=10,
        foreground_fraction=0.5,
        background_iou_high_threshold=0.42,
    )
    rois, matched, labels, indices = numpy(sampler(boxes, gt, classes))
    np.testing.assert_array_equal(labels, [[3, 3, 5, 0, 0, -1, -1, -1, -1, -1]])
    np.testing.assert_array_equal(indices, [[0, 0, 1] + [-1] * 7])
    expected = [boxes[0, 0], gt[0, 0], gt[0, 1], boxes[0, 1], boxes[0, 3]]
    np.testing.assert_array_equal(rois[0, :5], expected)
    np.testing.assert_array_equal(rois[0, 5:], [[0, 0, 1, 1]] * 5)
    np.testing.assert_array_equal(matched[0, :3], [gt[0, 0], gt[0, 0], gt[0, 1]])
    np.testing.assert_array_equal(matched[0, 3:5], np.zeros([2, 4]))
    np.testing.assert_array_equal(matched[0, 5:], rois[0, 5:])
    targets = box_ops.encode_boxes(matched[0, 5:], rois[0, 5:], [10.0, 10, 5, 5])
    np.testing.assert_array_equal(targets, np.zeros([5, 4]))


def test_skip_subsampling_equals_model_garden():
    scenes = scene()
    ours = sampler_of(skip_subsampling=True)(*scenes)
    theirs = tfm_roi_sampler.ROISampler(skip_subsampling=True)(*scenes)
    valid = np.asarray(ours[0]).max(-1) >= 0  # they call padding background
    for our, their in zip(numpy(ours), numpy(theirs), strict=True):
        assert our.shape == their.shape
        assert our.dtype == their.dtype
        np.testing.assert_array_equal(our[valid], their[valid])
    np.testing.assert_array_equal(ours[2][~valid], [-1] * 4)


def test_quotas_shapes_and_types_of_model_garden():
    scenes = scene(proposals=200)
    kwargs = {"num_sampled_rois": 32, "foreground_fraction": 0.25}
    ours = sampler_of(**kwargs)(*scenes)
    theirs = tfm_roi_sampler.ROISampler(**kwargs)(*scenes)
    for our, their in zip(ours, theirs, strict=True):
        assert (our.shape, our.dtype) == (their.shape, their.dtype)
    for labels in (ours[2], theirs[2]):
        np.testing.assert_array_equal(tf.reduce_sum(tf.cast(labels > 0, "int32"), 1), 8)


def test_outer_boxes():
    boxes, gt, classes = scene()
    outer = tf.where(gt < 0, gt, gt + 7)
    rois, matched, matched_outer, labels, indices = sampler_of(num_sampled_rois=16)(
        boxes, gt, classes, outer
    )
    assert rois.shape == matched.shape
    foreground = np.asarray(labels) > 0
    assert foreground.any()
    np.testing.assert_allclose(
        matched_outer.numpy()[foreground], matched.numpy()[foreground] + 7
    )
    picked = tf.gather(gt, tf.maximum(indices, 0), batch_dims=1).numpy()
    np.testing.assert_array_equal(picked[foreground], matched.numpy()[foreground])


@pytest.mark.parametrize(
    "negatives", ["random", "iou_balanced", "iou_balanced_published"]
)
@pytest.mark.parametrize("positives", ["random", "instance_balanced"])
def test_every_combination_fills_its_quotas(positives, negatives):
    boxes, gt, _ = scene(images=4, proposals=300)
    selection = select(
        tf.concat([boxes, gt], 1),
        gt,
        num_sampled_rois=40,
        positives=positives,
        negatives=negatives,
        seed=SEED,
    )
    positive, negative = selection.positive.numpy(), selection.negative.numpy()
    chosen, drawn = selection.chosen_positive.numpy(), selection.chosen_negative.numpy()
    assert not np.any(chosen & ~positive)
    assert not np.any(drawn & ~negative)
    np.testing.assert_array_equal(chosen.sum(1), np.minimum(positive.sum(1), 10))
    np.testing.assert_array_equal(drawn.sum(1), 40 - chosen.sum(1))
    iou = selection.iou.numpy()
    np.testing.assert_array_equal(positive, iou >= 0.5)
    np.testing.assert_array_equal(negative, (iou >= 0) & (iou < 0.5))
    assert np.all(iou[:, 300:303] == 1)
    assert np.all(iou[:, 303:] == -1)


def test_the_balanced_choices_are_wired():
    """The distributions are tested with `ops.sampling`; here, that they are used."""
    boxes, gt, _ = scene(images=8, proposals=900)
    kwargs = {"num_sampled_rois": 40, "foreground_fraction": 0.3, "seed": SEED}
    plain = select(boxes, gt, **kwargs)

    def in_bins(mask, edges=(0, 1 / 6, 1 / 3, 0.5)):
        iou = np.where(mask, plain.iou, np.nan)
        return np.stack([np.histogram(row, edges)[0] for row in iou])

    balanced = select(boxes, gt, negatives="iou_balanced", **kwargs)
    wanted = 40 - plain.chosen_positive.numpy().sum(1, keepdims=True)
    least = np.minimum(in_bins(plain.negative), wanted // 3)
    assert np.all(in_bins(balanced.chosen_negative) >= least)
    assert not np.all(in_bins(plain.chosen_negative) >= least)
    published = select(boxes, gt, negatives="iou_balanced_published", **kwargs)
    assert np.any(published.chosen_negative != balanced.chosen_negative)
    five = select(boxes, gt, negatives="iou_balanced", num_bins=5, **kwargs)
    assert np.any(five.chosen_negative != balanced.chosen_negative)
    np.testing.assert_array_equal(plain.chosen_positive, balanced.chosen_positive)

    instances = select(boxes, gt, positives="instance_balanced", **kwargs)
    for image in range(8):
        matched = instances.matched_gt_indices[image].numpy()
        owners = np.unique(matched[instances.positive[image]])
        counts = np.bincount(matched[instances.chosen_positive[image]])
        assert counts.max() <= round(12 / len(owners)) + 1 or len(owners) == 1


def test_image_without_ground_truth():
    boxes, _, classes = scene()
    for empty in (tf.fill([2, 5, 4], -1.0), tf.zeros([2, 0, 4])):
        some = classes[:, : empty.shape[1]]
        _, _, labels, indices = sampler_of(num_sampled_rois=16)(boxes, empty, some)
        np.testing.assert_array_equal(labels, np.zeros([2, 16]))
        np.testing.assert_array_equal(indices, np.full([2, 16], -1))


def test_image_without_any_candidate():
    _, gt, classes = scene()
    padding = tf.zeros([2, 7, 4])
    rois, _, labels, _ = sampler_of(num_sampled_rois=9, mix_gt_boxes=False)(
        padding, gt, classes
    )
    np.testing.assert_array_equal(labels, np.full([2, 9], -1))
    np.testing.assert_array_equal(rois, np.tile([0.0, 0, 1, 1], [2, 9, 1]))


def test_no_roi_twice():
    boxes, gt, classes = scene(proposals=100)
    rois, _, labels, _ = sampler_of(num_sampled_rois=48)(boxes, gt, classes)
    for image in range(2):
        chosen = rois[image][labels[image] >= 0]
        assert len(rows(chosen)) == len(chosen)
        assert rows(chosen) <= rows(tf.concat([boxes[image], gt[image]], 0))


def test_select_gives_what_call_uses():
    boxes, gt, classes = scene(proposals=200)
    sampler = sampler_of(num_sampled_rois=32, seed=5)
    seed = tf.random.experimental.stateless_fold_in(
        tf.constant([5, 0], tf.int64), tf.constant(0, tf.int64), alg="philox"
    )
    selection = sampler.select(boxes, gt, seed)
    rois, *_ = sampler(boxes, gt, classes)
    chosen = selection.chosen_positive | selection.chosen_negative
    for image in range(2):
        assert rows(rois[image]) == rows(selection.boxes[image][chosen[image]])


def test_each_call_draws_anew_and_a_restored_sampler_goes_on(tmp_path):
    scenes = scene(proposals=200)
    sampler = sampler_of(num_sampled_rois=32)
    first = sampler(*scenes)[0]
    path = tf.train.Checkpoint(sampler=sampler).save(tmp_path / "ckpt")
    second = sampler(*scenes)[0]
    assert np.any(first != second)
    assert sampler.num_calls == 2
    resumed = sampler_of(num_sampled_rois=32)
    resumed.build(scenes[0].shape)
    tf.train.Checkpoint(sampler=resumed).restore(path).assert_consumed()
    np.testing.assert_array_equal(resumed(*scenes)[0], second)
    assert np.any(sampler_of(num_sampled_rois=32, seed=1)(*scenes)[0] != first)
    assert sampler.trainable_variables == []


@pytest.mark.parametrize(
    "negatives", ["random", "iou_balanced", "iou_balanced_published"]
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_draw_what_eager_draws(negatives, jit_compile):
    scenes = scene(proposals=200)
    kwargs = {"num_sampled_rois": 32, "positives": "instance_balanced"}
    eager = sampler_of(negatives=negatives, **kwargs)
    layer = sampler_of(negatives=negatives, **kwargs)
    layer.build(scenes[0].shape)
    traced = tf.function(layer, jit_compile=jit_compile)
    for _ in range(2):
        for expected, actual in zip(eager(*scenes), traced(*scenes), strict=True):
            assert_close(actual, expected, of=ELEMENTWISE)
    assert layer.num_calls == 2


def test_symbolic_inputs_have_static_shapes():
    sampler = sampler_of(num_sampled_rois=32)
    inputs = [
        tf_keras.Input([20, 4]),
        tf_keras.Input([None, 4]),
        tf_keras.Input([None]),
    ]
    outputs = sampler(*inputs)
    shapes = [output.shape.as_list() for output in outputs]
    assert shapes == [[None, 32, 4], [None, 32, 4], [None, 32], [None, 32]]
    model = tf_keras.Model(inputs, outputs)
    boxes, gt, classes = scene(proposals=20)
    expected = sampler_of(num_sampled_rois=32)(boxes, gt, classes)
    actual = model([boxes, gt, tf.cast(classes, tf.float32)])
    np.testing.assert_array_equal(actual[0], expected[0])


TWO_REPLICAS = """

import sys

import numpy as np
import tensorflow as tf

from libra_tf.samplers import RoISampler, SamplingRule

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
corner = np.random.default_rng(0).uniform(0, 300, (2, 200, 2))
boxes = tf.constant(np.concatenate([corner, corner + 60], -1), tf.float32)
gt, classes = boxes[:, :3], tf.ones([2, 3], tf.int32)


def new_sampler():
    sampler = RoISampler(SamplingRule(num_sampled_rois=32))
    sampler.build(boxes.shape)
    return sampler, tf.train.Checkpoint(sampler=sampler)


with strategy.scope():
    sampler, checkpoint = new_sampler()


@tf.function
def step(jit_compile):
    def replica():
        call = tf.function(sampler, jit_compile=jit_compile, autograph=False)
        return call(boxes, gt, classes)[0]

    return strategy.run(replica)


for calls, jit_compile in ((1, False), (2, True), (3, False)):
    one, other = strategy.experimental_local_results(step(jit_compile))
    assert np.any(one != other)
    assert sampler.num_calls.read_value() == calls
    counts = strategy.experimental_local_results(sampler.num_calls)
    assert [int(count) for count in counts] == [calls, calls]
path = checkpoint.save(sys.argv[1])
single, single_checkpoint = new_sampler()
single_checkpoint.restore(path).assert_consumed()
assert single.num_calls == 3
step(False)
checkpoint.restore(path).assert_consumed()
again, _ = strategy.experimental_local_results(step(False))
np.testing.assert_array_equal(again, single(boxes, gt, classes)[0])
"""


def test_two_replicas_draw_differently_and_count_alike(tmp_path):
    """In a process of its own: the devices are fixed when TensorFlow starts."""
    done = programs.run(["-c", TWO_REPLICAS, str(tmp_path / "ckpt")])
    assert done.returncode == 0, done.stderr


def test_no_gradient_through_the_choice():
    boxes, gt, _ = scene()
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        iou = select(boxes, gt, seed=SEED).iou
    assert tape.gradient(iou, boxes) is None


def test_mixed_precision_leaves_the_coordinates_alone():
    scenes = scene()
    narrow = sampler_of(num_sampled_rois=32, dtype="mixed_bfloat16")(*scenes)
    wide = sampler_of(num_sampled_rois=32)(*scenes)
    assert narrow[0].dtype == tf.float32
    np.testing.assert_array_equal(narrow[0], wide[0])


def test_comes_back_from_its_config():
    sampler = sampler_of(
        mix_gt_boxes=False,
        num_sampled_rois=99,
        foreground_fraction=0.3,
        foreground_iou_threshold=0.6,
        background_iou_high_threshold=0.4,
        background_iou_low_threshold=0.1,
        skip_subsampling=True,
        positives="instance_balanced",
        negatives="iou_balanced",
        num_bins=5,
        k=0.7,
        bias=0.1,
        score_threshold=0.2,
        group_iou_threshold=0.6,
        seed=8,
    )
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(sampler))
    assert isinstance(restored, RoISampler)
    assert restored.get_config() == sampler.get_config()
    ours = sampler.get_config().keys() - tf_keras.layers.Layer().get_config()
    assert ours == {"rule", "mix_gt_boxes", "skip_subsampling", "seed"}
    assert SamplingRule(**sampler.get_config()["rule"]) == sampler.rule


def test_without_quota_comes_back_from_its_config():
    both = {"positives": "hardest", "negatives": "hardest"}
    sampler = sampler_of(without_quota=True, **both)
    restored = tf_keras.layers.deserialize(tf_keras.layers.serialize(sampler))
    assert restored.get_config() == sampler.get_config()
    assert restored.rule.without_quota


def test_a_setting_out_of_its_range():
    """The others are tested with `samplers.rule`."""
    with pytest.raises(ValueError, match=r"negatives .* all, got 'ohem'"):
        RoISampler(SamplingRule(negatives="ohem"))
    with pytest.raises(TypeError, match="num_roi"):
        RoISampler(num_roi=3)


MINED = {
    "hardest": {"positives": "hardest", "negatives": "hardest"},
    "without quota": {
        "positives": "hardest",
        "negatives": "hardest",
        "without_quota": True,
    },
    "score_ranked": {"negatives": "score_ranked"},
}


def head(boxes):
    """A stand-in: logits that depend on the box alone, boxes as they are."""
    waves = tf.range(1.0, 9.0) * tf.reduce_sum(boxes, -1, keepdims=True)
    return MinedRoIs(3 * tf.sin(waves), boxes + 1)


@pytest.mark.parametrize("rule", MINED.values(), ids=MINED)
def test_a_mined_rule_needs_a_miner(rule):
    sampler = sampler_of(num_sampled_rois=16, **rule)
    for call in (sampler, sampler.sample):
        with pytest.raises(ValueError, match="need the head's answer"):
            call(*scene())


@pytest.mark.parametrize("rule", MINED.values(), ids=MINED)
def test_sample_takes_the_rows_of_select(rule):
    boxes, gt, classes = scene(images=3, proposals=200)
    sampler = sampler_of(num_sampled_rois=32, seed=5, **rule)
    seed = tf.random.experimental.stateless_fold_in(
        tf.constant([5, 0], tf.int64), tf.constant(0, tf.int64), alg="philox"
    )
    selection = sampler.select(boxes, gt, seed, gt_classes=classes, miner=head)
    sampled = sampler.sample(boxes, gt, classes, miner=head)
    assert sampled.gt_outer_boxes is None
    chosen = selection.chosen_positive | selection.chosen_negative
    weighed = np.concatenate([selection.boxes, selection.weights[..., None]], -1)
    found = np.concatenate([sampled.rois, sampled.class_weights[..., None]], -1)
    for image in range(3):
        assert rows(found[image]) == rows(weighed[image][chosen[image]])
    weights = sampled.class_weights.numpy()
    background = sampled.gt_classes.numpy() == 0
    assert np.all(weights[~background] == 1)
    assert (len(np.unique(weights[background])) > 10) == (rule == MINED["score_ranked"])


@pytest.mark.parametrize("rule", MINED.values(), ids=MINED)
def test_fill_of_a_mined_rule(rule):
    """Two candidates for nine rows: the object, which is mixed in, and a proposal."""
    seen = []

    def miner(boxes):
        seen.append(boxes.numpy())
        return head(boxes)

    gt = tf.constant([[[0.0, 0, 10, 10], [-1, -1, -1, -1]]])
    boxes = tf.constant([[[50.0, 50, 60, 60], [0, 0, 0, 0]]])
    sampler = sampler_of(num_sampled_rois=9, **rule)
    sampled = sampler.sample(boxes, gt, tf.constant([[3, -1]]), miner=miner)
    assert sampled.gt_classes.numpy().tolist() == [[3, 0] + [-1] * 7]
    assert sampled.gt_indices.numpy().tolist() == [[0] + [-1] * 8]
    np.testing.assert_array_equal(sampled.rois[0, :2], [gt[0, 0], boxes[0, 0]])
    np.testing.assert_array_equal(sampled.rois[0, 2:], [[0, 0, 1, 1]] * 7)
    assert_close(sampled.class_weights, np.ones([1, 9]), of=ELEMENTWISE)
    # The head sees candidates and boxes of one pixel, never padding.
    (candidates,) = seen
    assert np.all(candidates[..., 2:] > candidates[..., :2])
    assert rows(candidates[0]) == rows(
        np.float32([boxes[0, 0], gt[0, 0], [0, 0, 1, 1]])
    )


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rule", [MINED["without quota"], MINED["score_ranked"]])
def test_graph_and_xla_mine_what_eager_mines(rule, jit_compile):
    scenes = scene(proposals=100)
    samplers = [sampler_of(num_sampled_rois=32, **rule) for _ in range(2)]
    samplers[1].build(scenes[0].shape)
    traced = tf.function(
        lambda *x: samplers[1].sample(*x, miner=head), jit_compile=jit_compile
    )
    expected = samplers[0].sample(*scenes, miner=head)
    for a, b in zip(traced(*scenes), expected, strict=True):
        if b is not None:
            assert_close(a, b, of=REDUCTION)


def test_all_takes_everything_and_draws_nothing():
    boxes, gt, classes = scene(proposals=200)
    sampler = sampler_of(
        num_sampled_rois=32,
        positives="all",
        negatives="all",
        background_iou_high_threshold=0.4,
    )
    first, second = (sampler.sample(boxes, gt, classes) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a, b)
    candidates = tf.concat([boxes, gt], 1)
    real = np.max(candidates, axis=-1) >= 0
    np.testing.assert_array_equal(first.rois[real], candidates[real])
    assert np.all(first.class_weights == 1)
    # By its overlaps: a class, background, or neither (the gap, and padding).
    overlaps = pairwise_iou(candidates, gt)
    iou, index = np.max(overlaps, 2), np.argmax(overlaps, 2)
    expected = np.where(iou >= 0.5, np.take_along_axis(classes.numpy(), index, 1), 0)
    expected[((iou >= 0.4) & (iou < 0.5)) | (iou < 0)] = -1
    np.testing.assert_array_equal(first.gt_classes, expected)
    assert set(np.unique(expected)) == {-1, 0, 2, 4, 7}
    np.testing.assert_array_equal(first.gt_indices, np.where(expected > 0, index, -1))
    ignored = expected == -1
    np.testing.assert_array_equal(first.gt_boxes[ignored], first.rois[ignored])


def test_padding_repeats_boxes_of_its_image_where_all_are_taken():
    """Else it would be a part of the statistics of BatchNorm in the head."""
    boxes, gt, classes = scene(proposals=9)
    boxes = boxes.numpy()
    boxes[0, 4:] = 0.0  # as Model Garden pads proposals
    boxes[1] = 0.0
    gt = tf.where(np.arange(2)[:, None, None] == 1, -1.0, gt)
    sampled = sampler_of(positives="all", negatives="all").sample(boxes, gt, classes)
    rois, real = sampled.rois.numpy()[0], np.concatenate([boxes[0, :4], gt[0]])
    real = real[real.max(axis=-1) >= 0].tolist()
    times = [int((rois == box).all(axis=-1).sum()) for box in real]
    assert sum(times) == len(rois)
    assert max(times) - min(times) <= 1
    assert np.sum(sampled.gt_classes[0] >= 0) <= len(real)
    # Nothing to repeat: it stays, without a label.
    assert np.all(sampled.gt_classes[1] == -1)
    assert np.max(sampled.rois[1]) <= 0


def test_weights_are_one_unless_the_sampler_ranks():
    sampled = sampler_of(num_sampled_rois=32).sample(*scene())
    np.testing.assert_array_equal(sampled.class_weights, np.ones([2, 32]))
