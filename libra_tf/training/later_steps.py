"""Takes out what a run's files tell of steps that come again, and tells what went."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from libra_tf.training.cut import Cut
from libra_tf.training.event_files import cut_events
from libra_tf.training.metrics_file import METRICS_FILE, cut_metrics


def cut_later_steps(
    model_dir: str, event_folders: Sequence[str], step: int
) -> Iterator[str]:
    """Makes metrics and TensorBoard's files end at `step`, and drops what is damaged.

    Args:
        model_dir: folder of the run.
        event_folders: where it has TensorBoard's files.
        step: from which the run goes on.

    Yields:
        Lines that say what was done, each as soon as it is.
    """
    metrics = [cut_metrics(model_dir, step)]
    yield from _lines(model_dir, metrics, step, "line", METRICS_FILE)
    events = cut_events(event_folders, step)
    yield from _lines(model_dir, events, step, "event", "TensorBoard's event files")


def _lines(
    model_dir: str, cuts: Sequence[Cut], step: int, what: str, all_files: str
) -> Iterator[str]:
    later = sum(cut.later for cut in cuts)
    if later:
        yield (
            f"{all_files}: {_counted(later, what)} of steps after {step} "
            f"{'was' if later == 1 else 'were'} taken out; these steps come again"
        )
    for cut in cuts:
        name = os.path.relpath(cut.path, model_dir)
        if cut.is_torn:
            yield f"{name}: its last {what}, which a kill had cut off, was taken out"
        if cut.foreign:
            yield f"{name}: was left as it is: {cut.foreign}"
        if cut.original:
            kept = os.path.relpath(cut.original, model_dir)
            yield (
                f"{name}: {_damage(cut, what)}; {_counted(cut.kept, what)} "
                f"kept; the file as it was is {kept}"
            )


def _damage(cut: Cut, what: str) -> str:
    parts = []
    if cut.damaged:
        is_, wrong = "is" if cut.damaged == 1 else "are", cut.wrong
        parts.append(f"{_counted(cut.damaged, what)} {is_} {wrong} and left out")
    if cut.ends_early:
        parts.append(
            f"the length of one {what} is damaged, so that nothing from there on can "
            "be read"
        )
    return ", and ".join(parts)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
