"""tasks.retinanet: what its losses keep, in training, validation and checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny

GHM = {
    "classification": {"type": "ghm_c"},
    "box": {"type": "ghm_r", "weight": 10.0},
}


def build(records, losses):
    params = tiny.experiment("libra_retinanet_resnetfpn_coco", task={"losses": losses})
    tiny.point_to(params, records)
    return params, *tiny.build(params)


@pytest.fixture(scope="module")
def ghm(records):
    return build(records, GHM)


def densities(model):
    return {name: state.read().numpy() for name, state in model.loss_states.items()}


def test_training_moves_the_densities_and_validation_does_not(ghm):
    params, task, model = ghm
    before = densities(model)
    assert before.keys() == {"class_density", "box_density"}
    assert all(not np.any(x) for x in before.values())
    task.build_metrics(training=False)
    validation = tiny.first_batch(task, params.task.validation_data)
    logs = task.validation_step(validation, model)
    assert np.isfinite(logs[task.loss])
    assert all(not np.any(x) for x in densities(model).values())

    optimizer = tf_keras.optimizers.SGD(1e-3)
    training = tiny.first_batch(task, params.task.train_data)
    step = tf.function(
        lambda batch: task.train_step(batch, model, optimizer)[task.loss]
    )
    first = step(training)
    one = densities(model)
    # A quarter of all (anchor, class) entries that are not ignored.
    entries = 3 * np.sum(training[1]["cls_weights"])
    assert np.sum(one["class_density"]) == pytest.approx(entries / 4)
    coordinates = 4 * np.sum(training[1]["box_weights"])
    assert np.sum(one["box_density"]) == pytest.approx(0.3 * coordinates)
    second = step(training)
    assert np.all([np.any(x != one[name]) for name, x in densities(model).items()])
    # The same batch: the weights fall as the average fills.
    assert second < 0.8 * first


def test_a_checkpoint_holds_the_densities(ghm, records, tmp_path):
    _, _, model = ghm
    for i, state in enumerate(model.loss_states.values()):
        state.assign(tf.range(float(len(state.initial))) + i)
    path = tf.train.Checkpoint(model=model).save(tmp_path / "ckpt")
    expected = densities(model)
    for state in model.loss_states.values():
        state.assign(tf.zeros(len(state.initial)))
    tf.train.Checkpoint(model=model).restore(path).assert_existing_objects_matched()
    for name, value in densities(model).items():
        np.testing.assert_array_equal(value, expected[name])
    trained = {id(v) for v in model.trainable_variables}
    states = [s.value for s in model.loss_states.values()]
    assert not trained & {id(v) for v in states}


def test_isr_trains_and_validates(records):
    """Validation labels do not tell objects apart."""
    losses = {"isr": {"enabled": True}, "carl": {"weight": 1.0}, "box": {"type": "l1"}}
    params, task, model = build(records, losses)
    task.build_metrics(training=False)
    validation = tiny.first_batch(task, params.task.validation_data)
    logs = task.validation_step(validation, model)
    assert np.isfinite(logs[task.loss])
    training = tiny.first_batch(task, params.task.train_data)
    logs = task.train_step(training, model, tf_keras.optimizers.SGD(1e-3))
    assert np.isfinite(logs[task.loss])
    assert model.loss_states == {}
