"""weights.backbone: a ResNet of torchvision as the start of training."""

import numpy as np
import pytest
import tf_keras
from published_state_dicts import COUNTER, random_weights, resnet_shapes
from torch_files import ordered, write_stream, write_zip

from libra_tf.errors import UserError
from libra_tf.layers.torch_resnet import TorchResNet
from libra_tf.weights.backbone import load_backbone
from libra_tf.weights.restore import restore_weights
from libra_tf.weights.weight_matching import MismatchError

SHAPES = resnet_shapes(base=4)
CLASSIFIER = {"fc.weight": (10, 128), "fc.bias": (10,)}


@pytest.fixture(scope="module")
def weights():
    return random_weights(SHAPES | CLASSIFIER)


@pytest.fixture(scope="module")
def backbone():
    return TorchResNet(depth=50, base_channels=4)


def clear(backbone):
    for variable in backbone.variables:
        variable.assign(np.zeros(variable.shape, np.float32))


@pytest.mark.parametrize("write", [write_zip, write_stream])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_every_weight_is_set(tmp_path, weights, backbone, write, prefix):
    clear(backbone)
    content = {f"{prefix}{name}": value for name, value in weights.items()}
    path = write(tmp_path / "x.pth", ordered(content))
    report = restore_weights(str(path), {"backbone": backbone})
    wanted = sum(COUNTER not in name for name in SHAPES)
    assert (report.restored, report.total) == (wanted, wanted)
    assert len(backbone.variables) == wanted
    kernel = backbone.get_layer("layer2.0.conv2").kernel
    theirs = weights["layer2.0.conv2.weight"]
    np.testing.assert_array_equal(kernel, theirs.transpose(2, 3, 1, 0))
    norm = backbone.get_layer("layer4.2.bn3")
    np.testing.assert_array_equal(norm.gamma, weights["layer4.2.bn3.weight"])
    np.testing.assert_array_equal(
        norm.moving_variance, weights["layer4.2.bn3.running_var"]
    )


def test_what_does_not_fit_is_listed_and_nothing_is_set(tmp_path, weights, backbone):
    clear(backbone)
    content = {k: v for k, v in weights.items() if k != "layer1.0.bn1.bias"}
    content["layer1.7.conv1.weight"] = np.ones(3, np.float32)
    path = write_zip(tmp_path / "x.pth", ordered(content))
    with pytest.raises(MismatchError, match="does not fit the backbone") as error:
        load_backbone(path, backbone)
    assert error.value.lines == (
        "missing: backbone.layer1.0.bn1.bias",
        "left over: layer1.7.conv1.weight",
    )
    assert not any(np.any(v) for v in backbone.variables)


def test_another_width(tmp_path, weights):
    path = write_zip(tmp_path / "x.pth", ordered(weights))
    with pytest.raises(MismatchError, match=r"wrong shape: conv1\.weight") as error:
        load_backbone(path, TorchResNet(depth=50, base_channels=8))
    assert len(error.value.lines) == len(SHAPES) - sum(COUNTER in n for n in SHAPES)


def test_model_gardens_backbone_is_refused(tmp_path, weights):
    path = write_zip(tmp_path / "x.pth", ordered(weights))
    with pytest.raises(UserError, match=r"backbone\.type torch_resnet; the"):
        restore_weights(str(path), {"backbone": tf_keras.Sequential()})


def test_a_pytorch_file_sets_the_backbone_only(tmp_path, weights, backbone):
    path = write_zip(tmp_path / "x.pth", ordered(weights))
    items = {"backbone": backbone, "decoder": backbone}
    with pytest.raises(UserError, match=r"init_checkpoint_modules to backbone"):
        restore_weights(str(path), items)


def test_a_missing_file(tmp_path, backbone):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        restore_weights(str(tmp_path / "no.pth"), {"backbone": backbone})
