"""`switches_off_*.yaml` are Model Garden's own experiments, setting by setting."""

import pytest

from libra_tf.experiments.files import find_config
from libra_tf.experiments.saved import get_experiment, load_experiment

DETECTORS = ["fasterrcnn", "maskrcnn", "retinanet"]
# What the data set gives.
FROM_DATA = {
    "task.model.num_classes",
    "task.train_data.input_path",
    "task.validation_data.input_path",
    "task.annotation_file",
}


def leaves(values, path=""):
    """Yields the dotted path and value of every setting; an empty mapping is one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def changed(ours, stock):
    """Settings of Model Garden's experiment that ours has not or has differently."""
    ours = dict(leaves(ours.as_dict()))
    missing = object()
    return {
        path
        for path, value in leaves(stock.as_dict())
        if ours.get(path, missing) != value
    }


def load(detector, *overrides):
    return load_experiment(
        None, [find_config(f"libra/switches_off_{detector}")], overrides
    )


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_setting_of_model_garden_is_the_same(detector):
    stock = get_experiment(f"{detector}_resnetfpn_coco")
    assert changed(load(detector), stock) == FROM_DATA


@pytest.mark.parametrize(
    "override",
    [
        "task.model.anchor.anchor_size=5.0",
        "task.losses.l2_weight_decay=0.5",
        "trainer.train_steps=7",
        "trainer.optimizer_config.optimizer.sgd.global_clipnorm=1.0",
        "runtime.mixed_precision_dtype=float32",
    ],
)
def test_one_other_setting_is_seen(override):
    stock = get_experiment("retinanet_resnetfpn_coco")
    path = override.split("=")[0]
    assert changed(load("retinanet", override), stock) == FROM_DATA | {path}


@pytest.mark.parametrize("detector", DETECTORS)
def test_what_we_added_is_off(detector):
    params = load(detector)
    task = params.task
    assert task.model.neck.type == "none"
    assert task.model.frozen_stages == 0
    assert (task.losses.box.type, task.losses.normalizer) == ("huber", "tfm")
    assert params.trainer.reference_batch_size == 0
    assert params.trainer.seed is None
    if detector != "retinanet":
        assert task.model.roi_sampler.is_stock
        assert task.model.rpn_sampler.neg_pos_ub == 0
        assert not task.evaluate_proposals
