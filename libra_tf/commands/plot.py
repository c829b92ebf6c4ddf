"""`libra plot`: learning curves, box losses and ablations as PNG and SVG."""

from __future__ import annotations

import argparse
from pathlib import Path

from libra_tf.commands.verbs import add_verb
from libra_tf.drawing.charts import check_path

RUNS = """\
A chart for each --metric, with a line for each run, from its metrics.jsonl.

examples:
  libra plot runs runs/plain runs/libra --out curves
  libra plot runs runs/libra --metric frcnn_box_loss --metric AP75 --out curves.png
"""
LOSSES = """\
Loss and gradient of the box losses against the error of a coordinate: Figure 5 of the
Libra R-CNN paper, computed by the losses of this package.

example:
  libra plot losses --out box_losses
"""
ABLATION = """\
A bar for each row of a table: mean over seeds, standard deviation, and each seed.

examples:
  libra plot ablation out/libra_table2 --out table2
  libra plot ablation results/libra_table2.csv --metric AP75 --out table2_ap75.svg
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-verbs."""
    verbs = parser.add_subparsers(dest="chart", metavar="CHART", required=True)
    runs = add_verb(verbs, "runs", "learning curves of runs", RUNS)
    runs.add_argument("run", metavar="RUN", nargs="+", help="folder of a run")
    runs.add_argument("--metric", metavar="NAME", action="append",
        help="of metrics.jsonl; repeatable (default: total_loss and AP)")  # fmt: skip
    add_verb(verbs, "losses", "box losses and their gradients", LOSSES)
    ablation = add_verb(verbs, "ablation", "rows of a table as bars", ABLATION)
    ablation.add_argument("source", metavar="DIR|results.csv",
        help="--out of libra ablate, or its results.csv")  # fmt: skip
    ablation.add_argument("--metric", metavar="NAME", default="AP", help="default AP")
    for sub in verbs.choices.values():
        sub.add_argument("--out", metavar="FILE", required=True,
            help="with .png or .svg; without an ending, both are written")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Draws; returns the exit code."""
    check_path(args.out)
    for file in _draw(args):
        print(f"written: {file}")
    return 0


def _draw(args: argparse.Namespace) -> list[Path]:
    if args.chart == "runs":
        from libra_tf.plots.learning import DEFAULT_METRICS, plot_learning

        return plot_learning(args.run, args.out, args.metric or DEFAULT_METRICS)
    if args.chart == "losses":
        from libra_tf.plots.box_losses import plot_box_losses

        return plot_box_losses(args.out)
    from libra_tf.plots.ablation_bars import plot_ablation

    return plot_ablation(args.source, args.out, args.metric)
