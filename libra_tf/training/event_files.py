"""TensorBoard's event files of a run that goes on from an earlier step.

Without this the steps between would stand in them twice, and a curve would go back and
forth.
"""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf

from libra_tf.data.record_reader import RecordFault, read_records
from libra_tf.files.atomic import draft_of

PATTERN = "events.out.tfevents.*"


def cut_events(folder: str | os.PathLike, step: int) -> int:
    """Takes out events of steps after `step`, and what a kill cut off.

    Args:
        folder: of a run; no process may write to event files below it.
        step: from which the run goes on.

    Returns:
        Number of events taken out.
    """
    return sum(_cut(path, step) for path in sorted(Path(folder).rglob(PATTERN)))


def _cut(path: Path, step: int) -> int:
    kept, count = [], 0
    for _, record in read_records(str(path)):
        if isinstance(record, RecordFault) or _step(record) > step:
            count += 1
        else:
            kept.append(record)
    if count:
        with draft_of(path) as draft, tf.io.TFRecordWriter(str(draft)) as writer:
            for record in kept:
                writer.write(record)
    return count


def _step(record: bytes) -> int:
    return tf.compat.v1.Event.FromString(record).step
