"""weights.slots: each weight of PyTorch has one place, and every place one weight."""

from __future__ import annotations

import functools

import goldens
import numpy as np
import pytest

from libra_tf.ops.logits import NEVER
from libra_tf.weights.slots import backbone_slots, published_layout

# Nothing here changes a detector.
golden_detector = functools.cache(goldens.build)


@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet"])
def test_every_weight_has_one_place(detector):
    model = golden_detector(detector)
    slots, tensors = published_layout(model), goldens.tensors(detector)
    assert set(slots) == set(tensors)
    for key, slot in slots.items():
        assert slot.shape == tensors[key].shape, key
        assert slot.transform(tensors[key]).shape == tuple(slot.variable.shape), key
    variables = [slot.variable.ref() for slot in slots.values()]
    assert len(set(variables)) == len(variables)
    # What samplers count is no weight.
    ours = {v.ref() for v in model.variables if "num_calls" not in v.name}
    assert ours == set(variables)


def test_channels_and_classes_are_reordered():
    slots = published_layout(golden_detector("faster_rcnn"))
    head = "roi_head.bbox_head."
    logits = slots[f"{head}fc_cls.bias"]
    np.testing.assert_array_equal(
        logits.transform(np.array([10.0, 20, 30, 40, 50, -1])), [-1, 10, 20, 30, 40, 50]
    )
    boxes = slots[f"{head}fc_reg.bias"].transform(np.arange(20.0))
    assert boxes[:8].tolist() == [0, 0, 0, 0, 1, 0, 3, 2]
    assert boxes[-4:].tolist() == [17, 16, 19, 18]
    # Channel 3, row 2, column 5 of the crop, to the second unit.
    weight = np.zeros(slots[f"{head}shared_fcs.0.weight"].shape, np.float32)
    weight[1, 3 * 49 + 2 * 7 + 5] = 1
    turned = slots[f"{head}shared_fcs.0.weight"].transform(weight)
    assert np.argwhere(turned).tolist() == [[(2 * 7 + 5) * 16 + 3, 1]]
    deltas = slots["rpn_head.rpn_reg.bias"].transform(np.arange(12.0))
    assert deltas.tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]
    kernel = np.random.default_rng(0).normal(size=(16, 16, 3, 3))
    turned = slots["rpn_head.rpn_conv.weight"].transform(kernel)
    assert turned[2, 1, 5, 9] == kernel[9, 5, 2, 1]


def test_retinanet_gains_a_class_that_is_never_found():
    slot = published_layout(golden_detector("retinanet"))["bbox_head.retina_cls.bias"]
    bias = slot.transform(np.arange(45.0)).reshape(9, 6)
    assert np.all(bias[:, 0] == NEVER)
    np.testing.assert_array_equal(bias[:, 1:], np.arange(45.0).reshape(9, 5))


def test_class_agnostic_boxes():
    model = goldens.build_random(
        "faster_rcnn", detection_head={"class_agnostic_bbox_pred": True}
    )
    slot = published_layout(model)["roi_head.bbox_head.fc_reg.bias"]
    assert slot.shape == (4,)
    assert slot.transform(np.arange(4.0)).tolist() == [1, 0, 3, 2]


def layout_with(neck, size=(None, None)):
    return published_layout(goldens.build_random("faster_rcnn", size, neck=neck))


def test_names_without_a_neck_or_with_a_convolution_in_it():
    plain = layout_with({"type": "none"})
    assert "neck.lateral_convs.0.conv.weight" in plain
    assert not any(key.startswith("neck.1.") for key in plain)
    conv = layout_with({"refine": "conv"})
    assert conv["neck.1.refine.conv.weight"].shape == (16, 16, 3, 3)
    with pytest.raises(ValueError, match="no published detector with a PathAggreg"):
        layout_with({"type": "path_aggregation"}, size=[64, 64])


def test_the_backbones_names_are_torchvisions():
    model = golden_detector("retinanet")
    slots = dict(backbone_slots(model.backbone))
    assert slots["layer1.0.downsample.1.running_var"].shape == (16,)
    assert slots["conv1.weight"].shape == (4, 3, 7, 7)
    assert len(slots) == 5 * 53
