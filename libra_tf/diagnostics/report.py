"""The measures as text for people, and as columns for tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from libra_tf.diagnostics.negatives import HARD_IOU

_RULE_NAMES = {
    "all": "all background candidates",
    "random": "random",
    "iou_balanced": "IoU-balanced",
    "iou_balanced_published": "IoU-balanced, published",
    "hardest": "of highest loss",
}
_LOSS_NAMES = {"smooth_l1": "smooth L1", "balanced_l1": "balanced L1", "l1": "L1"}
_NAME_WIDTH = max(map(len, _RULE_NAMES.values())) + 4


def columns(values: Mapping[str, Any]) -> dict[str, float]:
    """Picks the numbers for a table of runs; undefined ones are left out.

    Args:
        values: of `measure`.

    Returns:
        With the run's own sampler and loss, `chosen_negatives_iou_above_0.05`,
        `inlier_gradient_share` and `inlier_to_outlier_gradient`; with each rule and
        loss, `RULE_negatives_iou_above_0.05`, `inlier_gradient_share_LOSS` and
        `inlier_to_outlier_gradient_LOSS`; `level_similarity_before` and `_after` the
        neck, `level_norm_spread_before` and `_after`.
    """
    found: dict[str, float | None] = {}
    above = f"negatives_iou_above_{HARD_IOU}"
    sample, objective = values["sample"], values["objective"]
    if sample:
        rules = sample["rules"]
        if sample["own"]:
            found[f"chosen_{above}"] = rules[sample["own"]]["above"]
        found |= {f"{name}_{above}": rule["above"] for name, rule in rules.items()}
    if objective["own"]:
        own = objective["losses"][objective["own"]]
        found["inlier_gradient_share"] = own["inlier_share"]
        found["inlier_to_outlier_gradient"] = own["inlier_to_outlier"]
    for name, loss in objective["losses"].items():
        found[f"inlier_gradient_share_{name}"] = loss["inlier_share"]
        found[f"inlier_to_outlier_gradient_{name}"] = loss["inlier_to_outlier"]
    for name, levels in values["feature"].items():
        if levels:
            found[f"level_similarity_{name}"] = levels["mean_similarity"]
            found[f"level_norm_spread_{name}"] = levels["norm_spread"]
    return {name: value for name, value in found.items() if value is not None}


def format_report(values: Mapping[str, Any]) -> str:
    """Returns the measures as tables; `*` marks the run's own sampler and loss."""
    parts = [f"{values['checkpoint']} on {values['images']} images of {values['data']}"]
    if values["sample"]:
        parts.append(_sample_table(values["sample"]))
    parts.append(_objective_table(values["objective"]))
    if values["feature"]["before"]:
        parts.append(_feature_table(values["feature"]))
    parts.append(_training_table(values["training"]))
    if values["notes"]:
        parts.append("\n".join(f"note: {note}" for note in values["notes"]))
    return "\n\n".join(parts)


def _sample_table(sample: Mapping[str, Any]) -> str:
    edges = sample["iou_edges"]
    heads = [f"{a:g}-{b:g}" for a, b in itertools.pairwise(edges)]
    rows = {}
    for name, rule in sample["rules"].items():
        shares = rule["histogram"] or [None] * len(heads)
        label = _mark(_RULE_NAMES[name], name == sample["own"])
        rows[label] = [_percent(x) for x in (rule["above"], *shares)]
    mean = sample["per_image"]
    return "\n".join(
        [
            "sample level: background by its IoU with the ground truth",
            *_table([f"> {HARD_IOU:g}", *heads], rows),
            f"per image {mean['candidates']:.1f} candidates, {mean['positives']:.1f} "
            f"foreground, {mean['negatives']:.1f} background, {mean['chosen']:.1f} of "
            "these chosen",
            f"{sample['images_with_choice']:.0%} of the images have more background "
            "than is chosen; in the others all rules agree",
            "paper, figure 3: above 0.05 are about 30% at random, over 60% of the hard",
        ]
    )


def _objective_table(objective: Mapping[str, Any]) -> str:
    rows = {}
    for name, loss in objective["losses"].items():
        label = _mark(_LOSS_NAMES.get(name, name), name == objective["own"])
        means = [_number(loss[key]) for key in ("inlier_mean", "outlier_mean")]
        ratios = [_percent(loss[key]) for key in ("inlier_to_outlier", "inlier_share")]
        rows[label] = means + ratios
    counts = next(iter(objective["losses"].values()))
    return "\n".join(
        [
            "objective level: gradient of the box loss at the positives' coordinates",
            *_table(["inlier", "outlier", "ratio", "share"], rows),
            f"{counts['inliers']} inliers with an error below "
            f"{objective['threshold']:g}, {counts['outliers']} outliers",
            "ratio of an average inlier's to an average outlier's gradient; share of "
            "all inliers in the whole",
            "paper, section 3.3: the ratio is about 30% without balance",
        ]
    )


def _feature_table(feature: Mapping[str, Any]) -> str:
    before, after = feature["before"], feature["after"]
    sides = [("before", before)] + ([("after", after)] if after else [])
    rows = {}
    for name, side in sides:
        cells = [_number(x) for x in side["similarity"].values()]
        rows[f"cosine {name}"] = [*cells, _number(side["mean_similarity"])]
    for name, side in sides:
        rows[f"norm ratio {name}"] = [_number(x) for x in side["norm_ratio"].values()]
    return "\n".join(
        [
            "feature level: neighbouring levels before and after the neck",
            *_table([*before["similarity"], "mean"], rows),
        ]
    )


def _training_table(scalars: Mapping[str, float]) -> str:
    width = max(map(len, scalars)) + 4
    rows = [f"  {name}".ljust(width) + f"{x:>12.4g}" for name, x in scalars.items()]
    return "\n".join(["a training step of the run, as TensorBoard's imbalance/", *rows])


def _table(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [" " * _NAME_WIDTH + "".join(head.rjust(9) for head in heads)]
    for name, cells in rows.items():
        line = f"  {name}".ljust(_NAME_WIDTH) + "".join(c.rjust(9) for c in cells)
        lines.append(line)
    return lines


def _mark(name: str, own: bool) -> str:
    return f"{name} *" if own else name


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
