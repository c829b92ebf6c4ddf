"""inference.saved_model_scan: what a SavedModel could do is told before it does."""

import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from libra_tf.errors import UserError
from libra_tf.inference import saved_model_scan
from libra_tf.inference.detector import load_detector
from libra_tf.inference.saved_model_scan import check_ops, risky_ops


class Writer(tf.Module):
    """A detector of nothing, with a weight, that does something else on the way."""

    def __init__(self, act):
        super().__init__()
        self.weight = tf.Variable(1.0)
        self.act = act

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def serve(self, inputs):
        if self.act is not None:
            tf.cond(self.weight > 0, lambda: self.act(), lambda: 0)
        return {
            "detection_boxes": tf.zeros([1, 1, 4]) * self.weight,
            "detection_classes": tf.constant([[1.0]]),
            "detection_scores": tf.constant([[0.5]]),
            "num_detections": tf.constant([0]),
            "image_info": tf.ones([1, 4, 2]),
        }


def done(op):
    def act():
        with tf.control_dependencies([op()]):
            return tf.constant(0)

    return act


def save(folder, act=None):
    module = Writer(act)
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return str(folder)


def acts(target):
    """Name of the op, and what does it."""
    return {
        "WriteFile": lambda: tf.io.write_file(target, "x"),
        "ReadFile": lambda: tf.io.read_file(target),
        "SaveV2": lambda: tf.raw_ops.SaveV2(
            prefix=target, tensor_names=["a"], shape_and_slices=[""], tensors=[1.0]
        ),
        "PrintV2": lambda: tf.print("x", output_stream=f"file://{target}"),
        "EagerPyFunc": lambda: tf.py_function(lambda: 0, [], tf.int32),
    }


@pytest.mark.parametrize("op", acts(""))
def test_what_reaches_files_is_refused_and_not_run(tmp_path, op):
    target = tmp_path / "written"
    folder = save(tmp_path / "model", done(acts(str(target))[op]))
    assert risky_ops(folder) == [op]
    with pytest.raises(UserError, match=rf"has the ops {op}; .* give --trust"):
        load_detector(folder)
    assert not target.exists()


def test_every_op_is_told_however_many(tmp_path):
    saved = saved_model_pb2.SavedModel()
    graph = saved.meta_graphs.add().graph_def
    for op in sorted(saved_model_scan._OTHER_OPS):
        graph.node.add(name=op, op=op)
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(UserError) as error:
        check_ops(str(tmp_path), "give --trust")
    for op in saved_model_scan._OTHER_OPS:
        assert re.search(rf"\b{op}\b", str(error.value))
    for line in str(error.value).splitlines():
        assert re.search(r"has the ops \w.*\w; give --trust$", line)


def test_with_trust_it_runs(tmp_path):
    target = tmp_path / "written"
    act = done(lambda: tf.io.write_file(str(target), "x"))
    detector = load_detector(save(tmp_path / "model", act), trust=True)
    detector.detect(np.zeros((4, 4, 3), np.uint8))
    assert target.read_text() == "x"


def test_weights_that_are_saved_and_restored_are_no_matter(tmp_path):
    folder = save(tmp_path / "model")
    content = (tmp_path / "model" / "saved_model.pb").read_bytes()
    assert b"SaveV2" in content
    assert risky_ops(folder) == []
    load_detector(folder).detect(np.zeros((4, 4, 3), np.uint8))


def test_files_that_cannot_be_looked_into(tmp_path):
    folder = save(tmp_path / "model")
    (tmp_path / "model" / "saved_model.cpb").write_bytes(b"x")
    with pytest.raises(UserError, match=r"saved_model\.cpb cannot be looked into"):
        load_detector(folder)
    (tmp_path / "model" / "saved_model.cpb").unlink()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\xff" * 50)
    with pytest.raises(UserError, match=r"saved_model\.pb: not a usable SavedModel"):
        load_detector(folder)
