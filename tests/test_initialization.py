"""tasks.initialization: which parts `init_checkpoint` sets."""

import types

import pytest
import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.tasks.initialization import initialize_model


class Part(tf.Module):
    def __init__(self, value):
        super().__init__()
        self.kernel = tf.Variable(value)


def model(value):
    """Stands for a detector: parts by name."""
    parts = {name: Part(value) for name in ("backbone", "decoder", "head")}
    return types.SimpleNamespace(checkpoint_items=parts)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    checkpoint = tf.train.Checkpoint(**model(1.0).checkpoint_items)
    return checkpoint.write(str(tmp_path_factory.mktemp("c") / "ckpt"))


def initialize(saved, modules):
    """Names of the parts that were set, and the report."""
    config = types.SimpleNamespace(
        init_checkpoint=saved, init_checkpoint_modules=modules, class_names=[]
    )
    detector = model(0.0)
    report = initialize_model(config, detector)
    items = detector.checkpoint_items.items()
    return [name for name, part in items if part.kernel.numpy() == 1], report


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("all", ["backbone", "decoder", "head"]),
        ("backbone", ["backbone"]),
        ("backbone, decoder", ["backbone", "decoder"]),
        (["head", "decoder"], ["decoder", "head"]),
    ],
)
def test_parts_that_are_named_are_set(saved, modules, expected):
    found, report = initialize(saved, modules)
    assert found == expected
    assert report.restored == report.total == len(expected)


def test_an_unknown_part_is_refused_and_the_known_are_told(saved):
    with pytest.raises(
        UserError, match="no part named neck; there are backbone, decoder, head"
    ):
        initialize(saved, "backbone, neck")


def test_without_checkpoint_nothing_happens():
    assert initialize("", "all") == ([], None)
