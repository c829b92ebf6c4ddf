"""weights.restore: what a checkpoint gives, and what it does not."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from libra_tf.errors import UserError
from libra_tf.weights.restore import (
    checkpoint_path,
    checkpoint_step,
    inspect_checkpoint,
    restore_all,
    restore_weights,
)


class Detector(tf.Module):
    """A body, and a head of `classes`; `extra` has one part more."""

    def __init__(self, value, classes=3, extra=False):
        super().__init__()
        self.body = tf.Module()
        self.body.kernels = [tf.Variable([value, value]), tf.Variable([[value]])]
        self.head = tf.Variable(tf.fill([classes], value))
        if extra:
            self.neck = tf.Variable(value)

    def values(self):
        return [v.numpy().ravel().tolist() for v in self.variables]


@pytest.fixture
def saved(tmp_path):
    """Prefix of a checkpoint of a detector full of ones, at step 7."""
    step = tf.Variable(7, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=Detector(1.0), global_step=step)
    return checkpoint.save(str(tmp_path / "ckpt"))


def test_a_full_match_sets_everything(saved):
    model = Detector(0.0)
    report = restore_weights(saved, {"model": model})
    assert model.values() == Detector(1.0).values()
    assert (report.restored, report.total) == (3, 3)
    assert str(report) == f"3 of 3 variables from {saved}"


def test_variables_that_are_missing_keep_their_value(saved):
    model = Detector(0.0, extra=True)
    report = restore_weights(saved, {"model": model})
    assert model.neck.numpy() == 0
    assert model.head.numpy().tolist() == [1, 1, 1]
    assert report.missing == ("model/neck",)
    assert str(report).endswith("; not in it: model/neck")


def test_variables_of_another_shape_keep_their_value(saved):
    model = Detector(0.0, classes=5)
    report = restore_weights(saved, {"model": model})
    assert model.head.numpy().tolist() == [0] * 5
    assert model.body.kernels[0].numpy().tolist() == [1, 1]
    assert (report.restored, report.total) == (2, 3)
    assert report.mismatched == ("model/head (3,) -> (5,)",)


def test_a_part_can_be_taken_alone(saved):
    body = tf.Module()
    body.kernels = [tf.Variable([0.0, 0.0]), tf.Variable([[0.0]])]
    holder = tf.Module()
    holder.body = body
    report = restore_weights(saved, {"model": holder})
    assert (report.restored, report.total) == (2, 2)


def test_a_shared_variable_is_counted_once(saved):
    model = Detector(0.0)
    model.again = model.head
    assert restore_weights(saved, {"model": model}).total == 3


def test_agrees_with_the_checkpoint_reader_of_tensorflow(tmp_path):
    def build():
        return tf_keras.Sequential(
            [
                tf_keras.layers.Dense(3, input_shape=[2]),
                tf_keras.layers.BatchNormalization(),
            ]
        )

    source, ours, theirs = build(), build(), build()
    source.set_weights(
        [np.random.default_rng(0).random(w.shape) for w in source.weights]
    )
    path = tf.train.Checkpoint(model=source).save(str(tmp_path / "ckpt"))
    report = restore_all(path, {"model": ours})
    tf.train.Checkpoint(model=theirs).read(path).expect_partial()
    assert report.restored == report.total == 6
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_means_its_newest_checkpoint(tmp_path):
    checkpoint = tf.train.Checkpoint(model=Detector(1.0))
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
    manager.save()
    newest = manager.save()
    assert checkpoint_path(str(tmp_path)) == newest
    assert restore_weights(str(tmp_path), {"model": Detector(0.0)}).source == newest


def test_a_folder_without_checkpoint(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: no checkpoint in this folder"):
        checkpoint_path(str(tmp_path))


def test_a_prefix_without_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"no such checkpoint .*ckpt-9.index"):
        checkpoint_path(str(tmp_path / "ckpt-9"))


def test_an_address_that_cannot_be_reached():
    with pytest.raises(UserError, match=r"^nowhere://a/b: cannot be reached") as error:
        checkpoint_path("nowhere://a/b")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 500])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "ckpt.index").write_bytes(content)
    with pytest.raises(UserError, match="not a readable TensorFlow 2 checkpoint"):
        restore_weights(str(tmp_path / "ckpt"), {"model": Detector(0.0)})


def test_a_table_of_tensors_without_the_graph_of_objects(tmp_path):
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "v1"),
        tensor_names=["head"],
        shape_and_slices=[""],
        tensors=[tf.ones([3])],
    )
    with pytest.raises(UserError, match="not a readable TensorFlow 2 checkpoint"):
        restore_weights(str(tmp_path / "v1"), {"model": Detector(0.0)})


@pytest.mark.parametrize(
    ("keep", "message"),
    [(slice(0, 9000), "not a readable"), (slice(50, None), "cannot be read .* anoth")],
    ids=["cut off", "overwritten"],
)
def test_a_checkpoint_with_broken_data(tmp_path, keep, message):
    big = tf.Module()
    big.z = tf.Variable(tf.ones([5000]))
    path = tf.train.Checkpoint(model=big).write(str(tmp_path / "ckpt"))
    (file,) = tmp_path.glob("ckpt.data*")
    data = file.read_bytes()
    file.write_bytes(bytes(keep.start) + data[keep])
    with pytest.raises(UserError, match=message):
        restore_weights(path, {"model": big})


def test_a_checkpoint_without_its_data(saved, tmp_path):
    for data in tmp_path.glob("*.data*"):
        data.unlink()
    with pytest.raises(UserError, match="not a readable"):
        restore_weights(saved, {"model": Detector(0.0)})


def test_nothing_fits(saved):
    with pytest.raises(UserError, match="none of the 3 variables of other is in"):
        restore_weights(saved, {"other": Detector(0.0)})


@pytest.mark.parametrize("wrong", [{"classes": 5}, {"extra": True}])
def test_restore_all_is_all_or_nothing(saved, wrong):
    model = Detector(0.0, **wrong)
    before = model.values()
    with pytest.raises(UserError, match=r"does not fit the model: \d of \d variables"):
        restore_all(saved, {"model": model})
    assert model.values() == before


def test_inspection_sets_nothing(saved):
    model = Detector(0.0)
    report = inspect_checkpoint(saved, {"model": model})
    assert model.values() == Detector(0.0).values()
    assert report == restore_weights(saved, {"model": model})


def test_long_lists_are_cut_short(saved):
    model = Detector(0.0)
    model.more = [tf.Variable(0.0) for _ in range(5)]
    text = str(restore_weights(saved, {"model": model}))
    assert text.endswith("model/more/0, model/more/1, model/more/2 and 2 more")


def test_step(saved, tmp_path):
    assert checkpoint_step(saved) == 7
    other = tf.train.Checkpoint(model=Detector(1.0)).write(str(tmp_path / "weights"))
    with pytest.raises(UserError, match=f"{other}: no training step in it"):
        checkpoint_step(other)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    """Nothing would be detected with them, and nothing be said."""
    bad = Detector(1.0)
    bad.head.assign([1.0, np.nan, 1.0])
    path = tf.train.Checkpoint(model=bad).save(str(tmp_path / "ckpt"))
    with pytest.raises(UserError, match=r"ckpt-1: has numbers that are not finite, in"):
        restore_all(path, {"model": Detector(0.0)})
    restore_all(path, {"model": Detector(0.0)}, finite=False)
