"""TensorBoard's event files of a run that goes on from an earlier step.

Without this the steps between would stand in them twice, and a curve would go back and
forth.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from libra_tf.data.record_reader import RecordFault, read_records
from libra_tf.files.atomic import draft_of

PATTERN = "events.out.tfevents.*"
_VERSION = "brain.Event:"  # what each file begins with


def cut_events(folders: Iterable[str | os.PathLike], step: int) -> int:
    """Takes out events of steps after `step`, and what a kill cut off.

    A file that does not begin as an event file stays as it is.

    Args:
        folders: of a run's own event files, of which none is being written.
        step: from which the run goes on.

    Returns:
        Number of events taken out.
    """
    files = {path for folder in folders for path in Path(folder).glob(PATTERN)}
    return sum(_cut(path, step) for path in sorted(files) if path.is_file())


def _cut(path: Path, step: int) -> int:
    begin = _event(next(read_records(str(path)), (0, None))[1])
    if begin is None or not begin.file_version.startswith(_VERSION):
        return 0
    # Twice rather than held: events have pictures.
    count = sum(not _is_kept(record, step) for _, record in read_records(str(path)))
    if count:
        with draft_of(path) as draft, tf.io.TFRecordWriter(str(draft)) as writer:
            for _, record in read_records(str(path)):
                if _is_kept(record, step):
                    writer.write(record)
    return count


def _is_kept(record: bytes | RecordFault, step: int) -> bool:
    event = _event(record)
    return event is not None and event.step <= step


def _event(record: bytes | RecordFault | None) -> Any | None:
    if not isinstance(record, bytes):
        return None
    try:
        return tf.compat.v1.Event.FromString(record)
    except DecodeError:
        return None
