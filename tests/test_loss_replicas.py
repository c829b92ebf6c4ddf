"""Losses of two replicas: those of one with the whole batch, or of each by itself.

What is counted over all replicas: the divisors, GHM's histograms, the guided ratio, and
the expected positives of residual objectness. What each replica does alone, on its part
of the batch: the ranks of ISR-P, AP and DR loss, and the mean of CARL's weights.
"""

from __future__ import annotations

import json
import os

import numpy as np
import programs
import pytest
from tolerances import NETWORK, REDUCTION, assert_close, tolerance

# Logical devices must be made before TensorFlow starts: a process of its own.
SCRIPT = """
import json, sys
import dense_batches as batches
import numpy as np, tensorflow as tf
from libra_tf.experiments.saved import get_experiment, override
from libra_tf.layers.running_state import RunningState
from libra_tf.tasks import LibraMaskRCNNTask, LibraRetinaNetTask
from libra_tf.criteria.dense import needed_states
from libra_tf.training.strategy import logical_cpus

C = batches.NUM_CLASSES
devices = logical_cpus(2)
strategies = {
    "two": tf.distribute.MirroredStrategy(devices),
    "one": tf.distribute.MirroredStrategy(devices[:1]),
}


def dense():
    # One image without a positive; most of them in the second half.
    classes = batches.random_classes(images=4, anchors=60, seed=1)
    classes[0] = np.minimum(classes[0], -1)
    classes[1, 20:] = np.minimum(classes[1, 20:], -1)
    classes[3] = np.roll(np.abs(classes[2]), 3)
    return batches.batch(classes, instances=np.arange(240).reshape(4, 60) % 3, split=45)


def random(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, 7])


def two_stage():
    rng = np.random.default_rng(1)
    targets = rng.choice([-1, 0, 1, 2, 3], [4, 12])
    targets[0] = 0
    matched = np.where(targets > 0, rng.integers(0, 3, targets.shape), -1)
    outputs = {
        "class_outputs": random(4, 12, C, seed=1),
        "box_outputs": random(4, 12, 4 * C, seed=2),
        "rpn_scores": {"3": random(4, 5, 5, 3, seed=3)},
        "rpn_boxes": {"3": random(4, 5, 5, 12, seed=4)},
    }
    labels = {
        "rpn_score_targets": {"3": tf.constant(rng.choice([-1, 0, 1], [4, 5, 5, 3]))},
        "rpn_box_targets": {"3": random(4, 5, 5, 12, seed=5)},
        # The model adds these to its outputs; no gradient is taken by them.
        "targets": {
            "class_targets": tf.constant(targets, tf.float32),
            "box_targets": random(4, 12, 4, seed=6),
            "matched_gt_indices": tf.constant(matched),
            "class_weights": tf.random.stateless_uniform([4, 12], [3, 3]),
        },
    }
    return outputs, labels


def build(kind, losses):
    name, task = {
        "retinanet": ("retinanet", LibraRetinaNetTask),
        "fasterrcnn": ("fasterrcnn", LibraMaskRCNNTask),
    }[kind]
    config = get_experiment(f"libra_{name}_resnetfpn_coco").task
    losses = {"box": {"type": "smooth_l1"}} | losses
    override(config, {"model": {"num_classes": C}, "losses": losses}, "test")
    task = task(config)
    states = {}
    if kind == "retinanet":
        for name, values in needed_states(config.losses).items():
            states[name] = RunningState(values, name=name)
        task._states = states
    return task, states


def run(strategy, kind, losses, data, path):
    "Loss of each step, gradients of the outputs, and what is kept."
    count = strategy.num_replicas_in_sync
    with strategy.scope():
        task, states = build(kind, losses)

    def shard(context):
        i, n = context.replica_id_in_sync_group, 4 // count
        return tf.nest.map_structure(lambda x: x[i * n : (i + 1) * n], data)

    parts = strategy.experimental_distribute_values_from_function(shard)

    def replica(outputs, labels):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            given = {**outputs, **labels.get("targets", {})}
            values = task.build_losses(given, labels)
            total = values["total_loss"] if isinstance(values, dict) else values[0]
            scaled = total / count  # as Model Garden's training step
        return total, tf.nest.flatten(tape.gradient(scaled, outputs))

    step = tf.function(
        lambda: strategy.run(replica, args=parts), autograph=False
    )
    totals, gradients = [], []
    for _ in range(3):
        total, of_outputs = step()
        totals.append(float(strategy.reduce("MEAN", total, axis=None)))
        local = map(strategy.experimental_local_results, of_outputs)
        joined = [np.concatenate(list(map(np.asarray, x))).ravel() for x in local]
        gradients.append(np.concatenate(joined).astype(float).tolist())
    kept = {}
    if states:
        saved = tf.train.Checkpoint(**states).save(path)
        plain = {k: RunningState(s.initial, name=k) for k, s in states.items()}
        tf.train.Checkpoint(**plain).restore(saved).assert_consumed()
        kept = {k: s.read().numpy().tolist() for k, s in plain.items()}
    return {"loss": totals, "gradient": gradients, "kept": kept}


found = {}
for name, (kind, losses) in json.loads(sys.argv[1]).items():
    data = dense() if kind == "retinanet" else two_stage()
    found[name] = {
        number: run(strategy, kind, losses, data, f"{sys.argv[2]}/{name}-{number}")
        for number, strategy in strategies.items()
    }
print(json.dumps(found))
"""


def class_loss(kind, **settings):
    return {"classification": {"type": kind, **settings}}


ENTROPY = class_loss("cross_entropy")
GUIDED = {"guided": {"enabled": True}}
OBJECTNESS = {"objectness": {"moving": False}}
TOGETHER = {
    "focal": ("retinanet", {}),
    "cross_entropy": ("retinanet", ENTROPY),
    "ghm_c": ("retinanet", class_loss("ghm_c")),
    "ghm_c_level": ("retinanet", class_loss("ghm_c", ghm={"per_level": True})),
    "ghm_r": ("retinanet", {"box": {"type": "ghm_r"}}),
    "guided": ("retinanet", ENTROPY | GUIDED),
    "guided_ghm": ("retinanet", class_loss("ghm_c") | GUIDED),
    "objectness": ("retinanet", class_loss("residual_objectness", **OBJECTNESS)),
    "rcnn": ("fasterrcnn", {}),
    "rcnn_positives": ("fasterrcnn", {"normalizer": "positives"}),
    "rcnn_guided": ("fasterrcnn", {"normalizer": "positives"} | GUIDED),
}
BY_ITSELF = {
    "isr": ("retinanet", {"isr": {"enabled": True}}),
    "rcnn_isr": ("fasterrcnn", {"isr": {"enabled": True}}),
    "average_precision": ("retinanet", class_loss("average_precision")),
    "carl": ("retinanet", {"carl": {"weight": 1.0}}),
    "objectness_moving": ("retinanet", class_loss("residual_objectness")),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    methods = json.dumps(TOGETHER | BY_ITSELF)
    states = str(tmp_path_factory.mktemp("states"))
    folder = os.path.dirname(__file__)
    done = programs.run(["-c", SCRIPT, methods, states], cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", TOGETHER)
def test_two_replicas_are_one_with_the_whole_batch(found, name):
    one, two = found[name]["one"], found[name]["two"]
    assert_close(two["loss"], one["loss"], of=REDUCTION)
    scale = np.max(np.abs(one["gradient"]))
    assert scale > 1e-3
    assert_close(two["gradient"], one["gradient"], of=REDUCTION, scale=scale)
    assert two["kept"].keys() == one["kept"].keys()
    for key, value in one["kept"].items():
        assert_close(two["kept"][key], value, of=REDUCTION)


@pytest.mark.parametrize("name", ["ghm_c", "ghm_c_level", "ghm_r"])
def test_what_is_kept_counts_every_replica(found, name):
    assert found[name]["two"]["kept"]
    losses = found[name]["two"]["loss"]
    assert losses[0] != losses[1] != losses[2]


@pytest.mark.parametrize("name", ["isr", "rcnn_isr"])
def test_isr_ranks_what_a_replica_has(found, name):
    """The loss is that of the whole batch, the gradient is not."""
    one, two = found[name]["one"], found[name]["two"]
    assert_close(two["loss"], one["loss"], of=REDUCTION)
    change = np.abs(np.subtract(two["gradient"], one["gradient"]))
    assert np.max(change) > 0.01 * np.max(np.abs(one["gradient"]))


@pytest.mark.parametrize("name", ["average_precision", "carl"])
def test_losses_of_what_a_replica_has(found, name):
    one, two = found[name]["one"]["loss"], found[name]["two"]["loss"]
    assert abs(one[0] - two[0]) > 1e-4 * one[0]


def test_expected_positives_are_those_of_a_replica(found):
    """As released: each replica starts from 100 and moves to what it has on average."""
    kept = {k: v["kept"]["expected_positives"] for k, v in
            found["objectness_moving"].items()}  # fmt: skip
    positives = {
        k: (value[0] - 100 * 0.9**9) / (1 - 0.9**9) for k, value in kept.items()
    }
    assert positives["one"] == pytest.approx(
        2 * positives["two"], rel=tolerance(NETWORK)
    )
