"""Two replicas compute the loss of one replica on the same global batch."""

from __future__ import annotations

import json
import os

import programs
import pytest
import tiny

from libra_tf.experiments.saved import dump_params

# Logical devices must be made before TensorFlow starts: a process of its own.
SCRIPT = """
import json, sys
import tensorflow as tf
import tiny
from official.core import task_factory
from libra_tf.training.strategy import logical_cpus

devices = logical_cpus(2)


def compare(kind, records):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    # Evaluation-mode BatchNorm: statistics are per replica and no matter of the loss.
    # All candidates are taken, so that sampling draws nothing.
    frozen = {"backbone": {"resnet": {"bn_trainable": False}}}
    params.task.model.override(frozen)
    params.task.losses.l2_weight_decay = 0.0
    if kind != "retinanet":
        params.task.model.roi_sampler.num_sampled_rois = 100
        params.task.model.roi_sampler.foreground_fraction = 1.0
    tiny.point_to(params, records)
    task = task_factory.get_task(params.task)
    images, labels = tiny.first_batch(task, params.task.train_data)

    def run(strategy):
        task, model = tiny.build(params)
        for layer in model.submodules:
            if "BatchNorm" in type(layer).__name__:
                layer.trainable = False

        def losses(images, labels):
            shape = labels["image_info"][:, 1, :]
            if kind == "retinanet":
                outputs = model(images, training=False, image_shape=shape)
            else:
                names = ("gt_boxes", "gt_classes", "anchor_boxes")
                rois = {name: labels[name] for name in names}
                outputs = model(images, training=True, image_shape=shape, **rois)
            values = task.build_losses(outputs, labels)
            if isinstance(values, dict):
                return {k: v for k, v in values.items() if k.endswith("loss")}
            return dict(zip(("total", "class", "box", "model"), values))

        count = strategy.num_replicas_in_sync

        def shard(context):
            i, n = context.replica_id_in_sync_group, images.shape[0] // count
            cut = lambda x: x[i * n : (i + 1) * n]
            return tf.nest.map_structure(cut, (images, labels))

        parts = strategy.experimental_distribute_values_from_function(shard)

        # Traced, as in the training below, takes twice as long.
        def step():
            # Model Garden divides each replica's loss by the number of replicas.
            per_replica = strategy.run(losses, args=parts)
            return {
                k: strategy.reduce("MEAN", v, axis=None) for k, v in per_replica.items()
            }

        return {k: float(v) for k, v in step().items()}

    found = {}
    for name, some in (("one", devices[:1]), ("two", devices)):
        strategy = tf.distribute.MirroredStrategy(some)
        with strategy.scope():
            found[name] = run(strategy)
    return found


tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
kinds = ("fasterrcnn", "retinanet")
print(json.dumps({kind: compare(kind, sys.argv[1]) for kind in kinds}))
"""


def test_two_replicas_give_the_loss_of_one(records):
    done = programs.run(["-c", SCRIPT, records], cwd=os.path.dirname(__file__))
    assert done.returncode == 0, done.stderr[-3000:]
    for kind, losses in json.loads(done.stdout.splitlines()[-1]).items():
        print(f"{kind}: {losses}")
        assert losses["one"].keys() == losses["two"].keys()
        for name, value in losses["one"].items():
            assert losses["two"][name] == pytest.approx(value, rel=2e-5), (kind, name)


def test_two_replicas_train(records, tmp_path):
    """The train binary itself, on two logical CPU devices."""
    params = tiny.experiment(
        "libra_retinanet_resnetfpn_coco",
        runtime={"cpu_replicas": 2, "distribution_strategy": "mirrored"},
    )
    tiny.point_to(params, records)
    config = tmp_path / "config.yaml"
    config.write_text(dump_params(params))
    done = programs.run(
        [
            "-m",
            "libra_tf.train",
            "--experiment=libra_retinanet_resnetfpn_coco",
            "--mode=train_and_eval",
            f"--model_dir={tmp_path / 'run'}",
            f"--config_file={config}",
        ]
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 replica(s), batch 4 (2 per replica)" in done.stdout
    assert "step 4/4" in done.stdout
    last = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1]
    metrics = json.loads(last)
    assert metrics["num_images_evaluated"] == 6
    assert metrics["num_images_missing"] == 0


@pytest.mark.nightly
def test_a_deterministic_run_of_two_replicas_goes_on_with_its_data(records, tmp_path):
    """Stopped after three steps, in the middle of the data drawn at the second."""
    params = tiny.experiment(
        "libra_retinanet_resnetfpn_coco",
        runtime={"cpu_replicas": 2, "distribution_strategy": "mirrored"},
        task={"dataset": records, "model": {"num_classes": 0}},
        trainer={"steps_per_loop": 1, "summary_interval": 1, "checkpoint_interval": 2},
    )
    params.override({"runtime": {"deterministic": True}})
    (tmp_path / "tiny.yaml").write_text(dump_params(params))

    def train(out, steps):
        words = ["-m", "libra_tf.commands.main", "train", "--mode", "train"]
        words += ["--config", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / out)]
        done = programs.run([*words, "--set", f"trainer.train_steps={steps}"])
        assert done.returncode == 0, done.stderr[-3000:]
        lines = (tmp_path / out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["total_loss"] for line in lines]

    whole = train("whole", 5)
    train("parted", 3)
    assert train("parted", 5) == whole
    assert len(set(whole)) == 5
