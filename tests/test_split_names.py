"""What the splits of other people are called here."""

import pytest

from libra_tf.data.split_names import exact_split, split_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("train2017", "train"),
        ("train_set", "train"),
        ("cells_train.v2", "train"),
        ("valid", "val"),
        ("Validation", "val"),
        ("dev", "val"),
        ("test-dev2017", "test"),
        ("Testing", "test"),
        ("trainval2012", "trainval"),
        ("extra", "extra"),
        ("valley", "valley"),
        ("trains", "trains"),
        ("minival2014", "minival2014"),
        ("my-cells 2", "my_cells_2"),
    ],
)
def test_split_names(raw, name):
    assert split_name(raw) == name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("train_2017", "train"),
        ("val2012", "val"),
        # VOC's lists of the class train.
        ("train_train", None),
        ("train_val", None),
        ("cat_train", None),
        ("test-dev2017", None),
    ],
)
def test_names_that_are_a_split_and_nothing_else(raw, name):
    assert exact_split(raw) == name
