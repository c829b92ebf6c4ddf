"""inputs.labels: seeds for the transformation of labels."""

import pytest
import tensorflow as tf

from libra_tf.inputs.labels import fill_replicas, map_labels


def seeds(seed, batches=6):
    """What a transformation gets as seed, batch by batch."""
    dataset = tf.data.Dataset.from_tensor_slices(
        (tf.range(batches), {"kept": tf.range(batches)})
    )
    mapped = map_labels(dataset, lambda labels, seed: {**labels, "seed": seed}, seed)
    found = []
    for i, (image, labels) in enumerate(mapped):
        assert image.numpy() == labels["kept"].numpy() == i
        found.append(tuple(labels["seed"].numpy()))
    assert len(found) == batches
    return found


def test_every_batch_has_another_seed_of_two_numbers():
    found = seeds(3)
    assert len(set(found)) == 6
    assert {len(pair) for pair in found} == {2}


def test_the_seed_makes_it_reproducible():
    assert seeds(3) == seeds(3)
    assert seeds(3) != seeds(4)


def test_without_a_seed_each_run_differs():
    tf.random.set_seed(5)
    assert seeds(None) != seeds(None)


def test_stateless_randomness_takes_the_seed():
    dataset = tf.data.Dataset.from_tensors((0, {"x": tf.zeros([4])}))

    def draw(labels, *, seed):
        return {"x": tf.random.stateless_uniform([4], seed)}

    (_, once), (_, twice) = (
        next(iter(map_labels(dataset, draw, seed=1))) for _ in range(2)
    )
    assert once["x"].numpy().tolist() == twice["x"].numpy().tolist()


def test_the_structure_stays():
    dataset = tf.data.Dataset.from_tensors((tf.zeros([2, 3]), {"x": tf.zeros([2])}))
    mapped = map_labels(dataset, lambda labels, seed: labels, None)
    assert mapped.element_spec == dataset.element_spec


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("size", range(1, 8))
def test_every_replica_has_a_batch_in_the_last_step(size, replicas):
    context = tf.distribute.InputContext(num_replicas_in_sync=replicas)
    data = tf.data.Dataset.range(size).map(lambda i: (i, {"id": i}))
    batches = [int(i) for i, labels in fill_replicas(data, context)]
    assert len(batches) == -(-size // replicas) * replicas
    assert batches[:size] == list(range(size))
    assert set(batches[size:]) <= {0}
