"""weights: names, architecture and classes of published state dicts."""

import json

import numpy as np
import pytest
from published_state_dicts import COUNTER, detector_shapes, resnet_shapes

from libra_tf.errors import UserError
from libra_tf.experiments.saved import get_experiment
from libra_tf.weights.architecture import Architecture, tell_architecture
from libra_tf.weights.class_names import (
    COCO_CLASSES,
    NEVER,
    choose_class_names,
    place_classes,
    read_class_names,
    shape_in_file,
)
from libra_tf.weights.experiment import experiment_for
from libra_tf.weights.names import backbone_names, detector_names, image_statistics
from libra_tf.weights.published_shapes import published_shapes

DETECTORS = ("faster_rcnn", "retinanet")
TINY = {"base": 8, "fpn": 24, "classes": 7, "fc": 40}
RCNN = {"num_anchors": 3, "rpn_channels": 24, "fc_channels": 40, "num_fcs": 2,
        "roi_size": 7, "extra_levels": "max_pool"}  # fmt: skip
DENSE = {"num_anchors": 9, "head_channels": 24, "head_convs": 4,
         "extra_levels": "on_input"}  # fmt: skip


def told(shapes):
    names = detector_names(shapes, "x.pth")
    return tell_architecture({ours: shapes[n] for ours, n in names.items()}, "x.pth")


def refused(shapes):
    with pytest.raises(UserError, match=r"^x\.pth: ") as error:
        told(shapes)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix("x.pth: ")


@pytest.mark.parametrize(
    ("detector", "backbone", "expected"),
    [
        ("faster_rcnn", {}, (50, 8, 1, 8)),
        ("faster_rcnn", {"depth": 101}, (101, 8, 1, 8)),
        ("faster_rcnn", {"depth": 101, "groups": 16, "per_group": 2}, (101, 8, 16, 2)),
        ("retinanet", {}, (50, 8, 1, 8)),
        ("retinanet", {"groups": 4, "per_group": 3}, (50, 8, 4, 3)),
    ],
)
def test_the_architecture_is_told(detector, backbone, expected):
    depth, base, groups, width = expected
    rest = RCNN if detector == "faster_rcnn" else DENSE
    assert told(detector_shapes(detector, **TINY, **backbone)) == Architecture(
        detector=detector,
        depth=depth,
        base_channels=base,
        groups=groups,
        width_per_group=width,
        fpn_channels=24,
        refine="non_local",
        num_classes=7,
        **rest,
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Libra Faster R-CNN, ResNet-50, FPN of 256 channels, refinement "
             "non_local, 80 classes"),
        ({"depth": 101, "groups": 64, "per_group": 4}, "ResNeXt-101 64x4d"),
    ],
)  # fmt: skip
def test_published_sizes(options, text):
    assert text in str(told(detector_shapes("faster_rcnn", **options)))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
@pytest.mark.parametrize("detector", DETECTORS)
def test_what_is_wrapped_around_the_names(detector, prefix):
    shapes = detector_shapes(detector, **TINY)
    extra = {"data_preprocessor.mean": (3, 1, 1), "data_preprocessor.std": (3, 1, 1)}
    wrapped = {f"{prefix}{name}": shape for name, shape in (shapes | extra).items()}
    names = detector_names(wrapped, "x.pth")
    assert set(names) == {name for name in shapes if COUNTER not in name}
    assert all(theirs == f"{prefix}{ours}" for ours, theirs in names.items())
    assert set(image_statistics(wrapped)) == set(extra)


@pytest.mark.parametrize(
    "bare",
    [
        "neck.0.lateral_convs.1",
        "neck.0.fpn_convs.0",
        "neck.1.refine.conv_out",
        "bbox_head.cls_convs.2",
    ],
)
def test_convolutions_without_wrapper(bare):
    names = detector_names([f"{bare}.weight", f"{bare}.bias"], "x")
    assert list(names) == [f"{bare}.conv.weight", f"{bare}.conv.bias"]


def test_a_plain_convolution_as_refinement():
    for name in ("neck.1.refine.conv.weight", "neck.1.refine.weight"):
        assert list(detector_names([name], "x")) == ["neck.1.refine.conv.weight"]


def test_a_weight_under_two_names():
    names = ["neck.1.refine.g.weight", "neck.1.refine.g.conv.weight"]
    with pytest.raises(UserError, match="are the same weight"):
        detector_names(names, "x.pth")


def test_mmdetection_1_is_refused():
    shapes = detector_shapes("faster_rcnn", **TINY)
    old = {name.replace("roi_head.", ""): shape for name, shape in shapes.items()}
    assert "written by mmdetection 1" in refused(old)


def test_names_of_a_backbone():
    shapes = resnet_shapes(base=8)
    plain = [*shapes, "fc.weight", "fc.bias"]
    names = backbone_names(plain, "x.pth")
    assert set(names) == {f"backbone.{n}" for n in shapes if COUNTER not in n}
    inside = [f"backbone.{name}" for name in shapes]
    others = ["neck.0.fpn_convs.0.conv.weight", "bbox_head.retina_cls.bias"]
    assert set(backbone_names(inside + others, "x.pth")) == set(names)
    parallel = [f"module.{name}" for name in plain]
    assert set(backbone_names(parallel, "x.pth")) == set(names)


@pytest.mark.parametrize("names", [[], ["fc.weight"], ["features.0.weight"]])
def test_no_backbone(names):
    with pytest.raises(UserError, match=r"^x\.pth: no ResNet in it"):
        backbone_names(names, "x.pth")


def test_parts_that_no_resnet_has():
    with pytest.raises(UserError, match=r"backbone\.gamma is not part of a ResNet"):
        backbone_names(["backbone.conv1.weight", "backbone.gamma"], "x.pth")


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("neck.", "not a Libra detector: it has no FPN with a balanced feature"),
        ("backbone.layer3.5", r"blocks, as none of ResNet-50, ResNet-101"),
        ("neck.0.lateral_convs.3", "FPN has 3 lateral convolutions"),
        ("neck.0.fpn_convs.3", "FPN has 3 output convolutions"),
        ("rpn_head.rpn_reg", "rpn_head.rpn_reg.weight is missing"),
        ("roi_head.bbox_head.fc_cls", "fc_cls.weight is missing"),
    ],
)
def test_what_cannot_be_told_is_refused(without, message):
    shapes = detector_shapes("faster_rcnn", **TINY)
    shapes = {n: s for n, s in shapes.items() if not n.startswith(without)}
    assert message in refused(shapes)


def test_other_networks_are_refused():
    assert "no rpn_head" in refused(resnet_shapes(base=8))
    both = detector_shapes("faster_rcnn", **TINY) | detector_shapes("retinanet", **TINY)
    assert "heads of both" in refused(both)
    shapes = detector_shapes("faster_rcnn", **TINY)
    plain = {name.replace("neck.0.", "neck."): s for name, s in shapes.items()
             if not name.startswith("neck.1.")}  # fmt: skip
    assert "not a Libra detector" in refused(plain)
    basic = {n: s for n, s in shapes.items() if ".conv3." not in n and ".bn3." not in n}
    assert "with bottlenecks" in refused(basic)


def test_one_missing_weight_of_a_layer_does_not_hide_the_architecture():
    shapes = detector_shapes("faster_rcnn", **TINY)
    full = told(shapes)
    for name in shapes:
        rest = {n: s for n, s in shapes.items() if n != name}
        assert told(rest) == full, name


def test_another_refinement():
    shapes = detector_shapes("retinanet", **TINY)
    shapes = {n: s for n, s in shapes.items() if not n.startswith("neck.1.")}
    shapes["neck.1.refine.conv.weight"] = (24, 24, 3, 3)
    assert told(shapes).refine == "conv"


@pytest.mark.parametrize(
    ("detector", "layers", "message"),
    [
        ("faster_rcnn", ["neck.1."], "no refinement"),
        ("faster_rcnn", ["roi_head.bbox_head.shared_fcs.1."], "1 fully connected"),
        ("retinanet", ["neck.1."], "no refinement"),
        ("retinanet", ["bbox_head.cls_convs.3.", "bbox_head.reg_convs.3."],
         "towers of 3 convolutions"),
    ],
)  # fmt: skip
def test_missing_layers_are_no_smaller_detector(detector, layers, message):
    shapes = detector_shapes(detector, **TINY)
    rest = {n: s for n, s in shapes.items() if not n.startswith(tuple(layers))}
    assert len(rest) < len(shapes)
    assert message in refused(rest)


@pytest.mark.parametrize(
    ("detector", "backbone"),
    [
        ("faster_rcnn", {}),
        ("faster_rcnn", {"depth": 101, "groups": 16, "per_group": 2}),
        ("retinanet", {"groups": 4, "per_group": 3}),
    ],
)
def test_the_architecture_tells_all_shapes(detector, backbone):
    shapes = detector_shapes(detector, **TINY, **backbone)
    weights = {n: s for n, s in shapes.items() if not n.endswith(COUNTER)}
    assert published_shapes(told(shapes)) == weights


def test_shapes_of_other_refinements_and_levels():
    shapes = detector_shapes("retinanet", **TINY)
    shapes = {n: s for n, s in shapes.items() if not n.startswith("neck.1.")}
    shapes |= {
        "neck.1.refine.conv.weight": (24, 24, 3, 3),
        "neck.1.refine.conv.bias": (24,),
        "neck.0.fpn_convs.3.conv.weight": (24, 24, 3, 3),
    }
    weights = {n: s for n, s in shapes.items() if not n.endswith(COUNTER)}
    names = {name: ours for ours, name in detector_names(shapes, "x.pth").items()}
    assert published_shapes(told(shapes)) == {names[n]: s for n, s in weights.items()}


def test_a_number_of_a_layer_that_is_none():
    shapes = detector_shapes("retinanet", **TINY)
    odd = f"backbone.layer1.{'9' * 5000}.conv1.weight"
    assert told({**shapes, odd: (1,)}) == told(shapes)


def test_extra_levels_on_the_output():
    shapes = detector_shapes("retinanet", **TINY)
    shapes["neck.0.fpn_convs.3.conv.weight"] = (24, 24, 3, 3)
    assert told(shapes).extra_levels == "on_output"


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_experiment_has_what_the_shapes_tell(detector):
    backbone = {"depth": 101, "groups": 16, "per_group": 2}
    architecture = told(detector_shapes(detector, **TINY, **backbone))
    names = {i: f"c{i}" for i in (1, 2, 3, 5, 8, 9, 10)}
    params = experiment_for(architecture, names)
    model = params.task.model
    resnet = model.backbone.get()
    assert model.backbone.type == "torch_resnet"
    assert (resnet.model_id, resnet.base_channels) == (101, 8)
    assert (resnet.groups, resnet.width_per_group) == (16, 2)
    assert model.decoder.get().num_filters == 24
    assert model.num_classes == 11
    assert params.task.class_names[8] == "c8"
    assert params.task.class_names[4] == ""
    assert params.task.validation_data.global_batch_size == 1
    # The registered experiment stays as it was.
    own = get_experiment(params.experiment).task.model
    assert own.backbone.type == "resnet"


def test_unknown_anchors_are_refused():
    shapes = detector_shapes("faster_rcnn", **TINY)
    shapes["rpn_head.rpn_reg.weight"] = (20, 24, 1, 1)
    architecture = told(shapes)
    assert architecture.num_anchors == 5
    with pytest.raises(UserError, match="has 5 anchors at each cell"):
        experiment_for(architecture, {i: str(i) for i in range(1, 8)})


def test_coco_has_its_ids():
    assert len(COCO_CLASSES) == 80
    assert COCO_CLASSES[1] == "person"
    assert COCO_CLASSES[13] == "stop sign"
    assert COCO_CLASSES[44] == "bottle"
    assert COCO_CLASSES[90] == "toothbrush"
    assert not {12, 26, 29, 30, 45, 66, 68, 69, 71, 83} & set(COCO_CLASSES)


def test_names_of_the_classes(tmp_path):
    assert choose_class_names(80, {}) == COCO_CLASSES
    assert choose_class_names(80, {"CLASSES": tuple(COCO_CLASSES.values())}) == (
        COCO_CLASSES
    )
    others = [f"thing {i}" for i in range(80)]
    assert choose_class_names(80, {"CLASSES": others})[80] == "thing 79"
    assert choose_class_names(2, {"CLASSES": ("a", "b")}) == {1: "a", 2: "b"}
    new = {"dataset_meta": {"classes": ["a", "b"]}, "CLASSES": ("x", "y")}
    assert choose_class_names(2, new) == {1: "a", 2: "b"}
    for meta in (
        {},
        {"CLASSES": "ab"},
        {"CLASSES": ("a", 1)},
        {"CLASSES": ("a", "\n")},
    ):
        assert choose_class_names(2, meta) == {1: "class_1", 2: "class_2"}
    coco = [*COCO_CLASSES.values()]
    for number, names in ((2, ["a"]), (2, ["a", "a"]), (80, coco[:79])):
        with pytest.raises(UserError, match="name them with --class-names"):
            choose_class_names(number, {"CLASSES": names})


def test_names_from_a_file(tmp_path):
    text = tmp_path / "names.txt"
    text.write_text("red cell\n\nplatelet\n", encoding="utf-8-sig")
    assert choose_class_names(2, {}, text) == {1: "red cell", 2: "platelet"}
    with pytest.raises(UserError, match="has 2 classes, the detector 3"):
        choose_class_names(3, {}, text)
    categories = [{"id": 7, "name": "a"}, {"id": 2, "name": "b"}]
    annotations = tmp_path / "a.json"
    annotations.write_text(json.dumps({"categories": categories, "images": []}))
    # mmdetection numbers the classes in the order of the file.
    assert list(read_class_names(annotations).items()) == [(7, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", ""), ("a.txt", "x\nx\n"), ("a.json", "[]"), ("a.json", "{}"),
     ("a.json", '{"categories": [{"id": 0, "name": "a"}]}'), ("b.txt", None)],
)  # fmt: skip
def test_files_without_names(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name):
        read_class_names(tmp_path / name)


def test_classes_go_to_their_ids():
    ids = [4, 1]
    rows = np.array([[10.0], [20], [30]])  # two classes, then the background
    head = "roi_head.bbox_head.fc_"
    placed = place_classes(f"{head}cls.weight", rows, ids)
    assert placed.ravel().tolist() == [20, 0, 0, 10, 30]
    placed = place_classes(f"{head}cls.bias", rows[:, 0], ids)
    assert placed.tolist() == [20, NEVER, NEVER, 10, 30]
    deltas = np.arange(8.0)
    placed = place_classes(f"{head}reg.bias", deltas, ids)
    assert placed.tolist() == [4, 5, 6, 7, *[0] * 8, 0, 1, 2, 3]
    scores = np.arange(4.0)  # two anchors of two classes
    placed = place_classes("bbox_head.retina_cls.bias", scores, ids)
    assert placed.tolist() == [1, NEVER, NEVER, 0, 3, NEVER, NEVER, 2]
    assert place_classes("bbox_head.retina_reg.bias", scores, ids) is scores
    assert place_classes(f"{head}cls.bias", rows, [1, 2]) is rows
    for name, array in (
        (f"{head}cls.weight", rows),
        (f"{head}reg.bias", deltas),
        ("bbox_head.retina_cls.bias", scores),
    ):
        placed = place_classes(name, array, ids)
        assert shape_in_file(name, placed.shape, ids) == array.shape
