"""models.maskrcnn: what Model Garden's model does not do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny
from official.vision.ops import box_ops
from tolerances import NETWORK, REDUCTION, assert_close

from libra_tf.experiments.saved import override
from libra_tf.models.anchors import batch_anchors
from libra_tf.samplers import MinedRoIs, RoISampler
from libra_tf.samplers.mining import class_losses

MINED = {
    "hardest": {"positives": "hardest", "negatives": "hardest"},
    "without quota": {
        "positives": "hardest",
        "negatives": "hardest",
        "without_quota": True,
    },
    "score_ranked": {"negatives": "score_ranked"},
}
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def model():
    params = tiny.experiment("libra_maskrcnn_resnetfpn_coco")
    return tiny.build(params)[1]


def test_masks_of_rows_that_no_candidate_filled(model):
    """Their class is -1, which a CPU refuses to gather."""
    features = {
        str(k): tf.random.normal([1, tiny.SIZE >> k, tiny.SIZE >> k, 16])
        for k in range(2, 6)
    }
    rois = tf.constant([[[0.0, 0, 1, 1], [4, 4, 40, 40], [0, 0, 20, 30]]])
    unfilled, background = tf.constant([[-1, 2, 0]]), tf.constant([[0, 2, 0]])
    logits, _ = model._features_to_mask_outputs(features, rois, unfilled)
    expected, _ = model._features_to_mask_outputs(features, rois, background)
    np.testing.assert_array_equal(logits, expected)
    other, _ = model._features_to_mask_outputs(features, rois, unfilled + 1)
    assert not np.array_equal(logits, other)  # each class has its mask


def test_the_samplers_count_is_a_weight_before_training(model):
    names = [v.name for v in model.variables]
    assert any("num_calls" in name for name in names)


def test_proposals_are_an_output_of_evaluation_only(model):
    images = tf.zeros([1, tiny.SIZE, tiny.SIZE, 3])
    shape = tf.constant([[48.0, 64.0]])
    outputs = model(images, image_shape=shape, training=False)
    anchors = batch_anchors(images, model.get_config())
    expected, scores = model.roi_generator(
        outputs["rpn_boxes"], outputs["rpn_scores"], anchors, shape, training=False
    )
    np.testing.assert_array_equal(outputs["proposals"], expected)
    assert np.any(scores > 0)
    assert np.all(outputs["proposals"] <= [48, 64, 48, 64])
    images, labels = batch()
    masks = tf.zeros([2, 5, 28, 28])
    assert "proposals" not in model(images, training=True, gt_masks=masks, **labels)


@pytest.fixture(scope="module", params=["hardest", "score_ranked"])
def mining(request):
    """Task and model whose sampler looks at the head, which has batch norm twice."""
    params = tiny.experiment("libra_fasterrcnn_resnetfpn_coco")
    head = {"num_convs": 1, "num_filters": 8, "num_fcs": 1, "fc_dims": 32}
    sampler = {"positives": "random"} | MINED[request.param]
    changes = {"model": {"detection_head": head, "roi_sampler": sampler}}
    override(params, {"task": changes}, "test")
    return tiny.build(params)


def batch():
    """Two images; the second has no object."""
    images = tf.random.stateless_normal([2, tiny.SIZE, tiny.SIZE, 3], [1, 2])
    gt = np.full([2, 5, 4], -1, np.float32)
    gt[0, :3] = [[4, 4, 30, 36], [20, 30, 60, 62], [40, 2, 56, 20]]
    classes = np.full([2, 5], -1, np.int32)
    classes[0, :3] = [1, 3, 2]
    return images, {
        "image_shape": tf.constant([[64.0, 64.0]] * 2),
        "gt_boxes": tf.constant(gt),
        "gt_classes": tf.constant(classes),
    }


def norms(model):
    kinds = (layer for layer in model.submodules if "BatchNorm" in type(layer).__name__)
    return [w for layer in kinds for w in (layer.moving_mean, layer.moving_variance)]


def head_norms(model):
    return [w for w in norms(model.detection_head[0]) if w.shape.rank]


def losses_and_gradients(task, model):
    """From the RoIs' losses, so that no target of the RPN is needed."""
    images, kwargs = batch()
    with tf.GradientTape() as tape:
        outputs = model(images, training=True, **kwargs)
        parts = task._build_frcnn_losses(outputs, {})
        loss = tf.add_n(parts)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    return outputs, parts, gradients


def reset(model, weights):
    """Also the sampler's count of calls, from which it draws."""
    for variable, value in zip(model.weights, weights, strict=True):
        variable.assign(value)


def test_mining_leaves_no_trace(mining, monkeypatch):
    """Weights, losses and gradients as if the answer of the head had been given."""
    task, model = mining
    before = [w.numpy() for w in model.weights]
    answers, mine = [], type(model).score_candidates

    def remember(self, *args, **kwargs):
        answers.append(mine(self, *args, **kwargs))
        return answers[-1]

    monkeypatch.setattr(type(model), "score_candidates", remember)
    outputs, losses, gradients = losses_and_gradients(task, model)
    after = [w.numpy() for w in model.weights]
    reset(model, before)
    (answer,) = answers
    given = MinedRoIs(*(tf.constant(x.numpy()) for x in answer))
    monkeypatch.setattr(
        type(model), "score_candidates", lambda self, *args, **kwargs: given
    )
    same_outputs, same_losses, same_gradients = losses_and_gradients(task, model)
    np.testing.assert_array_equal(
        outputs["matched_gt_indices"], same_outputs["matched_gt_indices"]
    )
    np.testing.assert_array_equal(losses, same_losses)
    for a, b in zip(gradients, same_gradients, strict=True):
        # The bias before a BatchNorm has gradient 0 but for rounding.
        assert_close(a, b, of=NETWORK, scale=max(np.abs(b).max(), 1e-3))
    for variable, a, b in zip(model.weights, after, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), a, err_msg=variable.name)
        if "num_calls" in variable.name:
            assert variable.numpy() == b + 1
    # The second pass, which trains, does move the head's statistics.
    changed = [np.any(x != y) for x, y in zip(after, before, strict=True)]
    moved = {w.name for w, c in zip(model.weights, changed, strict=True) if c}
    assert {w.name for w in head_norms(model)} <= moved
    assert len(head_norms(model)) == 4
    reset(model, before)


def test_the_head_answers_in_inference_mode(mining):
    _, model = mining
    for weight in head_norms(model):
        weight.assign(tf.random.stateless_uniform(weight.shape, [3, 4]) + 0.5)
    before = [w.numpy() for w in model.weights]
    features = {
        str(k): tf.random.stateless_normal([2, 64 >> k, 64 >> k, 16], [k, 0])
        for k in range(2, 6)
    }
    corner = tf.random.stateless_uniform([2, 30, 2], [5, 6], 0, 40)
    candidates = tf.concat([corner, corner + 12], -1)

    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            tape.watch([features, candidates])
            mined = model.score_candidates(features, candidates)
            loss = tf.add_n([tf.reduce_sum(x) for x in mined])
        sources = [features, candidates, model.trainable_variables]
        gradients = tf.nest.flatten(tape.gradient(loss, sources))
        assert all(gradient is None for gradient in gradients)
        return mined

    mined = run()
    logits, deltas = model.detection_head[0](
        model.roi_aligner(features, candidates), training=False
    )
    assert_close(mined.class_logits, logits, of=REDUCTION, scale=1.0)
    best = np.argmax(logits[..., 1:], -1) + 1
    deltas = np.take_along_axis(
        deltas.numpy().reshape(2, 30, -1, 4), best[..., None, None], 2
    )[:, :, 0]
    expected = box_ops.decode_boxes(tf.constant(deltas), candidates, weights=WEIGHTS)
    assert_close(mined.boxes, expected, of=REDUCTION, scale=64.0)  # pixels
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value, err_msg=weight.name)


def test_outputs_of_a_mined_sampler(mining):
    task, model = mining
    outputs, (class_loss, box_loss), _ = losses_and_gradients(task, model)
    shapes = {
        "class_targets": [2, 32],
        "box_targets": [2, 32, 4],
        "matched_gt_indices": [2, 32],
        "class_weights": [2, 32],
        "class_outputs": [2, 32, 4],
        "box_outputs": [2, 32, 16],
    }
    assert {k: outputs[k].shape.as_list() for k in shapes} == shapes
    stock = ("backbone_features", "decoder_features", "rpn_boxes", "rpn_scores")
    assert outputs.keys() == {*shapes, *stock}
    assert class_loss > 0
    assert box_loss > 0
    # The image without an object is all background, with a loss.
    targets, weights = (outputs[k].numpy() for k in ("class_targets", "class_weights"))
    assert np.all(targets[1] == 0)
    assert np.all(outputs["matched_gt_indices"][1] == -1)
    assert not np.any(outputs["box_targets"][1])
    assert np.all(weights > 0)
    assert set(np.unique(targets[0])) == {0, 1, 2, 3}
    owner = np.array([1, 3, 2])[outputs["matched_gt_indices"].numpy()[targets > 0]]
    np.testing.assert_array_equal(owner, targets[targets > 0])


def test_a_batch_without_any_object(mining):
    task, model = mining
    images, kwargs = batch()
    kwargs["gt_boxes"] = -tf.ones_like(kwargs["gt_boxes"])
    kwargs["gt_classes"] = -tf.ones_like(kwargs["gt_classes"])
    outputs = model(images, training=True, **kwargs)
    assert not np.any(outputs["class_targets"])
    class_loss, box_loss = task._build_frcnn_losses(outputs, {})
    assert class_loss > 0
    assert box_loss == 0


@pytest.mark.parametrize("name", ["hardest", "without quota"])
def test_what_is_chosen_is_harder_than_what_is_not(mining, name):
    _, model = mining
    rule = model.roi_sampler[0].rule
    if rule.positives != "hardest":
        pytest.skip("the other sampler ranks scores")
    changes = {"without_quota": name == "without quota", "num_sampled_rois": 12}
    sampler = RoISampler(dataclasses.replace(rule, **changes))
    images, kwargs = batch()
    backbone = model.backbone(images)
    features = model.decoder(backbone)
    rois = tf.concat([kwargs["gt_boxes"] * 0.9 + k for k in range(1, 9)], 1)
    mined = []

    def miner(candidates):
        mined.append(model.score_candidates(features, candidates))
        return mined[-1]

    selection = sampler.select(
        rois, kwargs["gt_boxes"], (1, 2), gt_classes=kwargs["gt_classes"], miner=miner
    )
    losses = class_losses(
        mined[0].class_logits, kwargs["gt_classes"], selection.matched_gt_indices,
        selection.positive,
    ).numpy()  # fmt: skip
    pools = (
        [(selection.positive | selection.negative,
          selection.chosen_positive | selection.chosen_negative)]
        if name == "without quota"
        else [(selection.positive, selection.chosen_positive),
              (selection.negative, selection.chosen_negative)]
    )  # fmt: skip
    compared = 0
    for pool, chosen in ((a.numpy(), b.numpy()) for a, b in pools):
        for image in range(2):
            left, taken = pool[image] & ~chosen[image], chosen[image]
            if left.any() and taken.any():
                assert losses[image][taken].min() >= losses[image][left].max()
                compared += 1
    assert compared
