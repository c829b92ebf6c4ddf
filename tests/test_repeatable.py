"""`runtime.deterministic`: the input pipeline draws in one order."""

import types

import numpy as np
import orbit
import pytest
import tensorflow as tf
import tf_keras
import tiny
from official.core import config_definitions, task_factory

from libra_tf.experiments.resolve import resolve
from libra_tf.inputs.one_order import one_by_one
from libra_tf.training.trainer import Trainer

EXPERIMENTS = ("libra_fasterrcnn_resnetfpn_coco", "libra_retinanet_resnetfpn_coco")


def drawn(dataset):
    return np.array([float(x) for x in dataset])


def slow_first(x):
    """The first calls take long, so that later ones overtake them."""
    wait = tf.while_loop(
        lambda i: i < tf.where(x < 4, 200_000, 0), lambda i: [i + 1], [0]
    )[0]
    return tf.random.uniform([]) + 0.0 * tf.cast(wait, tf.float32)


def noise():
    tf_keras.utils.set_random_seed(5)
    return tf.data.Dataset.range(16).map(slow_first, num_parallel_calls=8)


def test_random_operations_draw_in_one_order():
    found = [drawn(one_by_one(noise())) for _ in range(3)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    # The same numbers as without, in another order.
    plain = drawn(noise())
    np.testing.assert_array_equal(np.sort(plain), np.sort(found[0]))
    tf_keras.utils.set_random_seed(5)
    in_turn = tf.data.Dataset.range(16).map(slow_first)
    np.testing.assert_array_equal(found[0], drawn(in_turn))


def test_it_makes_one_call_at_a_time():
    """The pool is what bounds the calls; ask the pipeline."""
    active = tf.Variable(0)
    most = tf.Variable(0)

    def count(x):
        most.assign(tf.maximum(most, active.assign_add(1)))
        with tf.control_dependencies([slow_first(tf.constant(0, tf.int64))]):
            active.assign_sub(1)
        return x

    autotuned = tf.data.Dataset.range(8).map(count, num_parallel_calls=tf.data.AUTOTUNE)
    assert [int(x) for x in one_by_one(autotuned)] == list(range(8))
    assert int(most) == 1


def batches(name, records, number=3, **sections):
    """The first batches of a trainer, and how the detector was built."""
    task = {"dataset": records, "seed": 4, "train_data": {"seed": 4}}
    task |= sections
    params = tiny.experiment(name, task=task, runtime={"deterministic": True})
    resolve(params)
    tf_keras.utils.set_random_seed(4)
    task = task_factory.get_task(params.task)
    optimizer = tf_keras.optimizers.legacy.SGD()
    trainer = Trainer(
        params, task, model=task.build_model(), optimizer=optimizer, evaluate=False
    )
    found = []
    for images, labels in trainer.train_dataset.take(number):
        labels = {k: v for k, v in labels.items() if "targets" in k}
        found.append(tf.nest.map_structure(lambda x: x.numpy(), (images, labels)))
    return found


@pytest.mark.usefixtures("built_once")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_detectors_see_the_same_images_and_labels(name, records):
    """Twice with a neck and once without: equal augmentation and anchor labels."""
    one, two = batches(name, records), batches(name, records)
    without = batches(name, records, model={"neck": {"type": "none"}})
    for other in (two, without):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    assert len(one) == 3
    assert not np.array_equal(one[0][0], one[1][0])


def test_a_pipeline_in_one_order_knows_its_replicas():
    """Else each replica would get the global batch."""
    seen = []

    def build(data, input_context=None):
        seen.append(input_context)
        return tf.data.Dataset.range(4)

    trainer = types.SimpleNamespace(
        config=types.SimpleNamespace(trainer=types.SimpleNamespace(seed=1))
    )
    orbit.utils.make_distributed_dataset(
        tf.distribute.OneDeviceStrategy("CPU:0"),
        Trainer._in_one_order(trainer, build),
        config_definitions.DataConfig(seed=3),
    )
    assert isinstance(seen[0], tf.distribute.InputContext)
