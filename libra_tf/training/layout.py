"""The page of TensorBoard's "custom scalars": one category for each level."""

from __future__ import annotations

import re

import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from libra_tf.diagnostics.negatives import HARD_IOU

GROUP = "imbalance/"  # of the tags
# A chart has one colour for a run: heads are apart, so that few curves are in each.
_HEADS = {"rpn": "RPN", "roi": "R-CNN head", "anchors": "RetinaNet"}
_ANY_HEAD = f"({'|'.join(_HEADS)})"
_OF_A_HEAD = {
    "positives per image, by level": "positives_level_.*",
    "negatives per image, by level": "negatives_level_.*",
    "positives per image, by class": "positives_class_.*",
    "foreground share, by level": "foreground_share_level_.*",
}
# Title of each chart, and the tags in it as an expression behind the group.
_CHARTS = {
    "sample level: which examples train": {
        f"background above IoU {HARD_IOU:g}, available and chosen":
            f"negatives/above_{HARD_IOU:g}_.*",
        **{
            f"{title}: {chart}": f"{head}/{pattern}"
            for chart, pattern in _OF_A_HEAD.items()
            for head, title in _HEADS.items()
        },
        "share of foreground": f"{_ANY_HEAD}/foreground_share",
        "positives per object": f"{_ANY_HEAD}/positives_per_object",
        "share of objects without a positive":
            f"{_ANY_HEAD}/objects_without_positive",
        "effective share of the examples in the class loss":
            f"{_ANY_HEAD}/effective_share",
        "GHM: share of the easiest and the hardest entries": "ghm/.*_share",
    },
    "feature level: what the levels have in common": {
        "norm of each level before the neck": "feature/norm_before_.*",
        "norm of each level after the neck": "feature/norm_after_.*",
        "cosine of neighbouring levels before the neck": "feature/cosine_before_.*",
        "cosine of neighbouring levels after the neck": "feature/cosine_after_.*",
    },
    "objective level: how much each task weighs": {
        "share of accurate coordinates in the box gradient":
            "objective/inlier_gradient_share",
        "class to box: loss": "objective/class_to_box_loss",
        "class to box: gradient at the pyramid": "objective/class_to_box_gradient",
    },
}  # fmt: skip


def layout(scalars: set[str]) -> layout_pb2.Layout:
    """Returns the charts that have a curve.

    Args:
        scalars: names of `figures`.
    """
    page = layout_pb2.Layout()
    for title, charts in _CHARTS.items():
        found = [
            layout_pb2.Chart(
                title=name,
                multiline=layout_pb2.MultilineChartContent(tag=[f"{GROUP}{pattern}"]),
            )
            for name, pattern in charts.items()
            if any(_matches(pattern, scalar) for scalar in scalars)
        ]
        if found:
            page.category.append(layout_pb2.Category(title=title, chart=found))
    return page


def write_layout(scalars: set[str], step: int) -> None:
    """Writes the layout to the summary writer in force."""
    kind = tf.compat.v1.SummaryMetadata.FromString(
        metadata.create_summary_metadata().SerializeToString()
    )
    text = tf.constant(layout(scalars).SerializeToString())
    tf.summary.write(metadata.CONFIG_SUMMARY_TAG, text, step=step, metadata=kind)


def _matches(pattern: str, scalar: str) -> bool:
    return re.fullmatch(pattern, scalar) is not None
