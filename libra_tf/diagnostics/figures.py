"""The numbers of `inspect_batch` as figures that people read, by name.

A name is of the form "group/figure"; a figure that is not defined is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from libra_tf.diagnostics.gradients import summarize_gradients
from libra_tf.diagnostics.levels import summarize_levels
from libra_tf.diagnostics.negatives import HARD_IOU, IOU_EDGES

# More classes than these are a histogram, not a curve for each.
_MOST_CURVES = 20
# Groups of examples: anchors of the RPN, RoIs, anchors of one stage.
HEADS = ("rpn", "roi", "anchors")


class Histogram(NamedTuple):
    """Heights [n] of bars between n + 1 edges."""

    edges: Sequence[float]
    heights: Sequence[float]


class Figures(NamedTuple):
    """Scalars and histograms by name."""

    scalars: dict[str, float]
    histograms: dict[str, Histogram]


def figures(
    sums: Mapping[str, Any], levels: Sequence[int], class_names: Sequence[str] = ()
) -> Figures:
    """Turns added sums into figures.

    Args:
        sums: of `inspect_batch`, as NumPy arrays or numbers.
        levels: of the pyramid, ascending.
        class_names: name of class id i at position i; "" or none is told by its id.

    Returns:
        For each head in `HEADS` that there is (counts are means per image):
        `HEAD/positives_level_L`, `HEAD/negatives_level_L`; `HEAD/foreground_share`,
        of "anchors" also `foreground_share_level_L`; `HEAD/positives_class_NAME`;
        `HEAD/positives_per_object`, `HEAD/objects_without_positive` (a share);
        `HEAD/effective_examples`, see `example_gradient_sums`, per image, and
        `HEAD/effective_share` of all that have a loss.
        `negatives/above_0.05_available`, `_chosen`, shares.
        `feature/norm_SIDE_level_L`, `feature/cosine_SIDE_L-M`, SIDE before or after
        the neck.
        `objective/inlier_gradient_share`, `objective/class_to_box_loss`,
        `objective/class_to_box_gradient`.
        `ghm/easiest_share`, `ghm/hardest_share` of the entries: first and last bin.
        Histograms: `negatives/iou_available`, `negatives/iou_chosen` (shares);
        `HEAD/positives_by_class`; `ghm/log10_entries_by_gradient`.
    """
    found = Figures({}, {})
    images = max(float(sums["images"]), 1.0)
    for head in HEADS:
        if head in sums:
            _add_head(found, head, sums[head], images, levels, class_names)
    if "negatives" in sums:
        _add_negatives(found, sums["negatives"])
    _add_features(found, sums["feature"], levels)
    _add_objective(found, sums)
    if "ghm" in sums:
        _add_density(found, np.asarray(sums["ghm"], np.float64))
    return found


def _add_head(
    found: Figures,
    head: str,
    sums: Mapping[str, Any],
    images: float,
    levels: Sequence[int],
    class_names: Sequence[str],
) -> None:
    scalars = found.scalars
    positives, negatives = (
        np.asarray(sums[kind], np.float64) for kind in ("positives", "negatives")
    )
    for kind, values in (("positives", positives), ("negatives", negatives)):
        for level, value in zip(levels, values, strict=False):
            scalars[f"{head}/{kind}_level_{level}"] = float(value) / images
    examples = positives + negatives
    _share(scalars, f"{head}/foreground_share", positives.sum(), examples.sum())
    if head == "anchors":
        for level, a, b in zip(levels, positives, examples, strict=False):
            _share(scalars, f"{head}/foreground_share_level_{level}", a, b)
    if "classes" in sums:
        _add_classes(found, head, np.asarray(sums["classes"]) / images, class_names)
    objects = sums["objects"]
    _share(
        scalars,
        f"{head}/positives_per_object",
        objects["positives"],
        objects["objects"],
    )
    if "without" in objects:
        name = f"{head}/objects_without_positive"
        _share(scalars, name, objects["without"], objects["objects"])
    length, square = (
        float(sums["gradient"]["length"]),
        float(sums["gradient"]["square"]),
    )
    if square:
        effective = length**2 / square
        scalars[f"{head}/effective_examples"] = effective / images
        _share(scalars, f"{head}/effective_share", effective, examples.sum())


def _add_classes(
    found: Figures, head: str, counts: np.ndarray, class_names: Sequence[str]
) -> None:
    ids = range(1, len(counts))  # 0 is the background
    found.histograms[f"{head}/positives_by_class"] = Histogram(
        [i - 0.5 for i in range(1, len(counts) + 1)], [float(counts[i]) for i in ids]
    )
    if len(ids) > _MOST_CURVES:
        return
    for i in ids:
        name = class_names[i] if i < len(class_names) else ""
        found.scalars[f"{head}/positives_class_{name or i}"] = float(counts[i])


def _add_negatives(found: Figures, sums: Mapping[str, Any]) -> None:
    for name in ("available", "chosen"):
        counts = np.asarray(sums[name], np.float64)
        total = counts.sum()
        if not total:
            continue
        found.scalars[f"negatives/above_{HARD_IOU:g}_{name}"] = float(
            counts[1:].sum() / total
        )
        found.histograms[f"negatives/iou_{name}"] = Histogram(
            IOU_EDGES, [float(x) for x in counts / total]
        )


def _add_features(
    found: Figures, sums: Mapping[str, Any], levels: Sequence[int]
) -> None:
    for side, each in sums.items():
        names = [str(level) for level in levels]
        summary: dict[str, Any] = summarize_levels(each, names)
        for level, value in summary["norms"].items():
            found.scalars[f"feature/norm_{side}_level_{level}"] = value
        for pair, value in summary["similarity"].items():
            found.scalars[f"feature/cosine_{side}_{pair}"] = value


def _add_objective(found: Figures, sums: Mapping[str, Any]) -> None:
    scalars, losses = found.scalars, sums["losses"]
    if "box" in sums:
        share = summarize_gradients(sums["box"])["inlier_share"]
        if share is not None:
            scalars["objective/inlier_gradient_share"] = share
    _share(scalars, "objective/class_to_box_loss", losses["class"], losses["box"])
    norms = [float(losses[f"{x}_gradient"]) ** 0.5 for x in ("class", "box")]
    _share(scalars, "objective/class_to_box_gradient", *norms)


def _add_density(found: Figures, counts: np.ndarray) -> None:
    bins = len(counts)
    edges = [i / bins for i in range(bins + 1)]
    heights = [float(x) for x in np.log10(1.0 + counts)]
    found.histograms["ghm/log10_entries_by_gradient"] = Histogram(edges, heights)
    _share(found.scalars, "ghm/easiest_share", counts[0], counts.sum())
    _share(found.scalars, "ghm/hardest_share", counts[-1], counts.sum())


def _share(scalars: dict[str, float], name: str, part: Any, whole: Any) -> None:
    """Adds a quotient, unless there is nothing to divide by."""
    if float(whole):
        scalars[name] = float(part) / float(whole)
