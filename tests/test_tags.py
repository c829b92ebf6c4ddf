"""training.tags: groups of TensorBoard."""

import pytest
import tensorflow as tf
from event_scalars import event_scalars

from libra_tf.training.tags import GroupedSummaries, tag_of


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("total_loss", "loss/total"),
        ("rpn_score_loss", "loss/rpn_score"),
        ("learning_rate", "loss/learning_rate"),
        ("training_loss", None),
        ("validation_loss", None),
        ("num_images_missing", None),
        ("AP", "AP/AP"),
        ("APs", "AP/APs"),
        ("best_AP", "AP/best_AP"),
        ("AP@0.55", "AP_iou/AP@0.55"),
        ("mask_AP@0.55", "AP_iou/mask_AP@0.55"),
        ("AP/red cells", "AP_class/red cells"),
        ("mask_AP/WBC", "AP_class/mask_WBC"),
        ("mask_AP75", "AP/mask_AP75"),
        ("ARmax100", "AR/ARmax100"),
        ("mask_ARl", "AR/mask_ARl"),
        ("AR@1000", "proposals/AR@1000"),
        ("ARs@1000", "proposals/ARs@1000"),
        ("steps_per_second", "speed/steps_per_second"),
        ("data_wait_share", "speed/data_wait_share"),
    ],
)
def test_group_of_each_name(name, tag):
    assert tag_of(name) == tag


def test_what_says_nothing_is_not_written(tmp_path):
    step = tf.Variable(7, dtype=tf.int64)
    summaries = GroupedSummaries(str(tmp_path), step, absent=["mask_loss"])
    summaries.write_summaries(
        {"AP": 0.5, "AP75": -1.0, "APs": float("nan"), "mask_loss": 0.0,
         "box_loss": 0.0, "best_total_loss": -0.5}
    )  # fmt: skip
    summaries.flush()
    assert event_scalars(tmp_path, "AP/AP") == [(7, 0.5)]
    assert event_scalars(tmp_path, "loss/box") == [(7, 0.0)]
    assert event_scalars(tmp_path, "loss/best_total") == [(7, -0.5)]
    for tag in ("AP/AP75", "AP/APs", "loss/mask"):
        assert event_scalars(tmp_path, tag) == []
