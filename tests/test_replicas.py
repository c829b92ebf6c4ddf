"""Two replicas compute the loss of one replica on the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import tiny

# Logical devices must be made before TensorFlow starts: a process of its own.
SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf, tf_keras
import tiny
from libra_tf.training.strategy import logical_cpus

kind, records = sys.argv[1:]
devices = logical_cpus(2)
params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
# Evaluation-mode BatchNorm: statistics are per replica and no matter of the loss.
# All candidates are taken, so that sampling draws nothing.
params.task.model.override({"backbone": {"resnet": {"bn_trainable": False}}})
params.task.losses.l2_weight_decay = 0.0
if kind != "retinanet":
    params.task.model.roi_sampler.num_sampled_rois = 100
    params.task.model.roi_sampler.foreground_fraction = 1.0
tiny.point_to(params, records)
task, model = tiny.build(params)
images, labels = tiny.first_batch(task, params.task.train_data)

def losses(images, labels):
    outputs = forward(images, labels)
    values = task.build_losses(outputs, labels)
    if isinstance(values, dict):
        return {k: v for k, v in values.items() if k.endswith("loss")}
    return dict(zip(("total", "class", "box", "model"), values))

def forward(images, labels):
    if kind == "retinanet":
        return model(images, training=False, image_shape=labels["image_info"][:, 1, :])
    rois = dict(image_shape=labels["image_info"][:, 1, :], gt_boxes=labels["gt_boxes"],
        gt_classes=labels["gt_classes"], anchor_boxes=labels["anchor_boxes"])
    with frozen_batch_norm():
        return model(images, training=True, **rois)

import contextlib
@contextlib.contextmanager
def frozen_batch_norm():
    for layer in model.submodules:
        if "BatchNorm" in type(layer).__name__:
            layer.trainable = False
    yield

def run(strategy):
    count = strategy.num_replicas_in_sync
    def shard(context):
        i, n = context.replica_id_in_sync_group, images.shape[0] // count
        cut = lambda x: x[i * n : (i + 1) * n]
        return tf.nest.map_structure(cut, (images, labels))
    parts = strategy.experimental_distribute_values_from_function(shard)
    @tf.function(autograph=False)
    def step():
        # Model Garden divides each replica's loss by the number of replicas.
        per_replica = strategy.run(losses, args=parts)
        return {
            k: strategy.reduce("MEAN", v, axis=None) for k, v in per_replica.items()
        }
    return {k: float(v) for k, v in step().items()}

two = tf.distribute.MirroredStrategy(devices)
with two.scope():
    task, model = tiny.build(params)
    result_two = run(two)
one = tf.distribute.MirroredStrategy(devices[:1])
with one.scope():
    task, model = tiny.build(params)
    result_one = run(one)
print(json.dumps({"one": result_one, "two": result_two}))
"""


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
def test_two_replicas_give_the_loss_of_one(kind, records):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind, records],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses = json.loads(done.stdout.splitlines()[-1])
    print(f"{kind}: {losses}")
    assert losses["one"].keys() == losses["two"].keys()
    for name, value in losses["one"].items():
        assert losses["two"][name] == pytest.approx(value, rel=2e-5), name


def test_two_replicas_train(records, tmp_path):
    """The train binary itself, on two logical CPU devices."""
    params = tiny.experiment(
        "libra_retinanet_resnetfpn_coco",
        runtime={"cpu_replicas": 2, "distribution_strategy": "mirrored"},
    )
    tiny.point_to(params, records)
    from libra_tf.experiments.saved import dump_params

    config = tmp_path / "config.yaml"
    config.write_text(dump_params(params))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "libra_tf.train",
            "--experiment=libra_retinanet_resnetfpn_coco",
            "--mode=train_and_eval",
            f"--model_dir={tmp_path / 'run'}",
            f"--config_file={config}",
        ],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 replica(s), batch 4 (2 per replica)" in done.stdout
    assert "step 4/4" in done.stdout
    last = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1]
    metrics = json.loads(last)
    assert metrics["num_images_evaluated"] == 6
    assert metrics["num_images_missing"] == 0
