"""TensorBoard's page of the imbalance: there, right, and of no effect on training."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from event_scalars import event_scalars
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from libra_tf.training.batch_watch import BatchWatch
from libra_tf.training.event_files import PATTERN
from libra_tf.training.layout import layout
from libra_tf.training.runner import run

GHM = {"task": {"losses": {"classification": {"type": "ghm_c"}}}}


def train(folder, records, kind, interval, **sections):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco", **sections)
    params.override(
        {
            "task": {"dataset": records, "model": {"num_classes": 0}},
            "runtime": {"deterministic": True},
            "trainer": {"imbalance_interval": interval},
        }
    )
    run(params, "train", str(folder), stream=io.StringIO(), async_checkpoints=False)
    return folder


def state(folder):
    reader = tf.train.load_checkpoint(str(folder))
    names = reader.get_variable_to_shape_map()
    kept = (n for n in names if not n.startswith(("save_counter", "_CHECKPOINTABLE")))
    return {name: reader.get_tensor(name) for name in kept}


def values(folder):
    """The last value of each tag."""
    found = {}
    for path in sorted(folder.rglob(PATTERN)):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found[value.tag] = tf.make_ndarray(value.tensor)
    return found


@pytest.fixture(
    scope="module", params=[("fasterrcnn", {}), ("retinanet", GHM)], ids=lambda p: p[0]
)
def pair(request, records, tmp_path_factory):
    """Kind, and the folders of a run with the page and of one without."""
    kind, sections = request.param
    folder = tmp_path_factory.mktemp(kind)
    seen = train(folder / "seen", records, kind, 2, **sections)
    return kind, seen, train(folder / "alone", records, kind, 0, **sections)


@pytest.mark.slow
def test_training_is_the_same_to_the_last_bit(pair):
    _, seen, alone = pair
    first, second = state(seen), state(alone)
    assert first.keys() == second.keys()
    assert any("moving_mean" in name for name in first)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], name)


@pytest.mark.slow
def test_the_page_is_there_where_it_is_asked_for(pair):
    kind, seen, alone = pair
    page = {tag for tag in values(seen) if tag.startswith("imbalance/")}
    assert not {t for t in values(alone) if t.startswith("imbalance/")}
    expected = {
        "fasterrcnn": {
            "roi/positives_level_2", "roi/positives_class_ellipse",
            "rpn/negatives_level_5",
            "roi/objects_without_positive", "rpn/positives_per_object",
            "roi/effective_examples", "rpn/effective_share", "negatives/iou_chosen",
            "negatives/above_0.05_available", "roi/positives_by_class",
        },
        "retinanet": {
            "anchors/foreground_share_level_3", "anchors/positives_per_object",
            "anchors/positives_class_triangle", "anchors/effective_share",
            "ghm/log10_entries_by_gradient", "ghm/easiest_share",
        },
    }[kind] | {
        "feature/norm_before_level_4", "feature/norm_after_level_4",
        "feature/cosine_before_3-4", "feature/cosine_after_4-5",
        "objective/class_to_box_loss", "objective/class_to_box_gradient",
        "objective/inlier_gradient_share",
    }  # fmt: skip
    assert {f"imbalance/{name}" for name in expected} <= page
    steps = [s for s, _ in event_scalars(seen, "imbalance/objective/class_to_box_loss")]
    assert steps == [2, 4]
    for name, value in values(seen).items():
        if name.startswith("imbalance/"):
            assert np.isfinite(value).all(), name


@pytest.mark.slow
def test_shares_are_shares_and_ratios_are_above_0(pair):
    _, seen, _ = pair
    found = values(seen)
    shares = [t for t in found if any(w in t for w in ("share", "above", "without"))]
    assert len(shares) > 4
    for tag in shares:
        assert 0 <= found[tag].min() <= found[tag].max() <= 1, tag
    for name in ("loss", "gradient"):
        assert found[f"imbalance/objective/class_to_box_{name}"] > 0


@pytest.mark.slow
def test_tags_are_in_groups(pair):
    _, seen, _ = pair
    told = values(seen)
    assert {"settings", "_hparams_/session_start_info"} <= set(told)
    groups = {tag.partition("/")[0] for tag in told if "/" in tag}
    assert groups == {"loss", "imbalance", "speed", "_hparams_"}
    assert not {"loss/mask", "loss/training"} & set(told)
    page = layout_pb2.Layout.FromString(told[metadata.CONFIG_SUMMARY_TAG].item())
    titles = [category.title.partition(":")[0] for category in page.category]
    assert titles == ["sample level", "feature level", "objective level"]
    assert "libra_" in told["settings"].item().decode()


def test_a_chart_without_a_curve_is_left_out():
    page = layout({"feature/norm_before_level_3", "feature/norm_before_level_4"})
    (category,) = page.category
    assert [c.title for c in category.chart] == ["norm of each level before the neck"]


@pytest.mark.parametrize(
    ("interval", "summary", "due"),
    [
        (100, 20, [100, 200, 300]),
        (100, 30, [120, 210, 300]),
        (100, 112, [112, 224, 336]),
        (1, 20, list(range(20, 361, 20))),
        (250, 20, [260]),
        (1000, 20, []),
    ],
)
def test_looks_are_as_far_apart_as_asked_on_average(interval, summary, due):
    watch = BatchWatch(interval, summary)
    found = [n for n in range(1, 361) if watch.is_due(tf.constant(n, tf.int64))]
    assert found == due


def test_the_batch_of_a_due_step_is_kept_once():
    watch = BatchWatch(2, 2)

    @tf.function
    def steps(batch):
        for number in range(1, 4):
            watch.keep(tf.constant(number), (batch + number, {"a": {"b": batch[0]}}))

    steps(tf.constant([1.0, 2.0]))
    assert watch.take(3) is None
    steps(tf.constant([1.0, 2.0]))
    images, labels = watch.take(2)[0]
    assert images.tolist() == [3, 4]
    assert labels["a"]["b"] == 1
    assert watch.take(2) is None


# Logical devices must be made before TensorFlow starts: a process of its own.
SCRIPT = """
import json, sys
import tensorflow as tf
import tiny
from official.core import task_factory
from libra_tf.training.imbalance_page import ImbalancePage
from libra_tf.training.strategy import logical_cpus
import types

devices = logical_cpus(2)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def compare(kind, records):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco")
    if kind != "retinanet":  # all candidates are taken: nothing is drawn
        params.task.model.roi_sampler.num_sampled_rois = 100
        params.task.model.roi_sampler.foreground_fraction = 1.0
    tiny.point_to(params, records)
    task = task_factory.get_task(params.task)
    batch = tiny.first_batch(task, params.task.train_data)
    batch = tf.nest.map_structure(lambda x: x.numpy(), batch)
    found = []
    for count in (1, 2):
        strategy = tf.distribute.MirroredStrategy(devices[:count])
        with strategy.scope():
            task, model = tiny.build(params)
        trainer = types.SimpleNamespace(strategy=strategy, model=model, task=task)
        page = ImbalancePage(trainer, params, None)
        n = 4 // count
        cut = lambda i: lambda x: x[i * n : (i + 1) * n]
        parts = {i: tf.nest.map_structure(cut(i), batch) for i in range(count)}
        found.append(page.look(parts, 2))
    return [[f.scalars, f.histograms] for f in found]


kinds = ("fasterrcnn", "retinanet")
print(json.dumps({kind: compare(kind, sys.argv[1]) for kind in kinds}))
"""


@pytest.mark.slow
def test_two_replicas_show_what_one_shows(records):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, records],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for one, two in json.loads(done.stdout.splitlines()[-1]).values():
        assert one[0].keys() == two[0].keys()
        for name, value in one[0].items():
            assert two[0][name] == pytest.approx(value, rel=2e-4, abs=1e-6), name
        for name, histogram in one[1].items():
            assert two[1][name][1] == pytest.approx(histogram[1], rel=1e-5), name
