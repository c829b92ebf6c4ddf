"""TensorBoard's event files of a run that goes on from an earlier step.

Without this the steps between would stand in them twice, and a curve would go back and
forth.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from libra_tf.data.record_reader import Damage, RecordFault, read_records
from libra_tf.files.atomic import draft_of
from libra_tf.files.damaged import keep_original
from libra_tf.training.cut import Cut

PATTERN = "events.out.tfevents.*"
_VERSION = "brain.Event:"  # what each file begins with
_NEWEST = f"{_VERSION}2"


def cut_events(folders: Iterable[str | os.PathLike], step: int) -> list[Cut]:
    """Takes out events of steps after `step`, what a kill cut off, and what is damaged.

    Events behind a damaged one are kept as long as lengths tell where they begin. A
    file that does not begin as an event file stays as it is.

    Args:
        folders: of a run's own event files, of which none is being written.
        step: from which the run goes on.

    Returns:
        What was left out of each file, or why it was not touched.
    """
    files = {path for folder in folders for path in Path(folder).glob(PATTERN)}
    return [_cut(path, step) for path in sorted(files) if path.is_file()]


def _cut(path: Path, step: int) -> Cut:
    first = next(read_records(str(path)), (0, None))[1]
    foreign = _why_foreign(first)
    if first is None or foreign:
        return Cut(path, foreign=foreign)
    # Twice rather than held: events have pictures.
    cut = _count(path, step)
    if cut.loses:
        # Under its own name TensorBoard would show it too.
        name = path.name.replace("tfevents", "damaged")
        cut = dataclasses.replace(cut, original=keep_original(path, name))
    if cut.changes:
        with draft_of(path) as draft, tf.io.TFRecordWriter(str(draft)) as writer:
            if not isinstance(first, bytes):
                writer.write(_beginning(path))
            for record, event in _events(path):
                if event is not None and event.step <= step:
                    writer.write(record)
    return cut


def _why_foreign(first: bytes | RecordFault | None) -> str:
    """Why a file is none of TensorBoard's, by its first record; "" if it is one."""
    if isinstance(first, RecordFault):
        # Where its length has its checksum, it is a record file, and named as theirs.
        return "" if first.damage == Damage.CONTENT else first.text
    event = _event(first)
    is_version = event is not None and event.file_version.startswith(_VERSION)
    return "" if is_version or first is None else "it does not begin as an event file"


def _count(path: Path, step: int) -> Cut:
    kept = later = damaged = 0
    is_torn = ends_early = False
    for record, event in _events(path):
        kind = record.damage if isinstance(record, RecordFault) else None
        is_torn |= kind == Damage.TORN
        ends_early |= kind == Damage.LENGTH
        if event is None:
            damaged += kind in (None, Damage.CONTENT)
        elif event.step > step:
            later += 1
        else:
            # The first event is the version of the format.
            kept += not event.file_version
    return Cut(path, kept, later, damaged, is_torn=is_torn, ends_early=ends_early)


def _beginning(path: Path) -> bytes:
    """The first record of a file that has lost it."""
    times = (event.wall_time for _, event in _events(path) if event is not None)
    wall_time = next(times, path.stat().st_mtime)
    event = tf.compat.v1.Event(wall_time=wall_time, file_version=_NEWEST)
    return event.SerializeToString()


def _events(path: Path) -> Iterator[tuple[bytes | RecordFault, Any | None]]:
    """Each record and the event that it is, None if it is none."""
    for _, record in read_records(str(path)):
        yield record, _event(record)


def _event(record: bytes | RecordFault | None) -> Any | None:
    if not isinstance(record, bytes):
        return None
    try:
        return tf.compat.v1.Event.FromString(record)
    except DecodeError:
        return None
