"""Reads every record of a converted folder, and finds all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libra_tf.data.coco import read_coco
from libra_tf.data.faults import refuse_faults
from libra_tf.data.manifest import SplitFiles, load_manifest
from libra_tf.data.record_checks import (
    labels,
    object_problems,
    parse,
    picture_problem,
    size_problem,
    source_id,
)
from libra_tf.data.record_reader import RecordFault, read_records
from libra_tf.files.progress_line import ProgressLine


@dataclass
class SplitReport:
    """What was read of a split."""

    files: int = 0
    records: int = 0
    objects: int = 0
    faults: list[RecordFault] = field(default_factory=list)


def verify(folder: str | Path, quiet: bool = False) -> dict[str, SplitReport]:
    """Reads all records: checksums, content, pictures, classes and counts.

    Args:
        folder: converted.
        quiet: no line of progress on stderr.

    Returns:
        What was found, by split.

    Raises:
        UserError: it is no converted folder, or lacks files.
    """
    manifest = load_manifest(folder)
    return {
        name: _verify_split(files, set(manifest.class_names), quiet)
        for name, files in manifest.splits.items()
    }


def _verify_split(split: SplitFiles, class_ids: set[int], quiet: bool) -> SplitReport:
    report = SplitReport()
    objects = _objects_per_image(split)
    seen: set[str] = set()
    progress = None if quiet else ProgressLine(split.name, split.num_images)
    pattern = Path(split.tfrecords)
    for path in sorted(pattern.parent.glob(pattern.name)):
        report.files += 1
        for number, content in read_records(str(path)):
            report.records += 1
            if isinstance(content, RecordFault):
                report.faults.append(content)
            else:
                for text in _problems(content, split, class_ids, objects, seen, report):
                    report.faults.append(RecordFault(str(path), number, text))
            if progress:
                progress.step()
    if progress:
        progress.finish()
    report.faults += _count_faults(split, report, objects, seen)
    return report


def _objects_per_image(split: SplitFiles) -> dict[str, int]:
    """Number of objects of each image id of the annotation file."""
    dataset = read_coco(split.annotation_file)
    refuse_faults(dataset.faults)
    return {str(image.id): len(image.annotations) for image in dataset.images}


def _problems(
    content: bytes,
    split: SplitFiles,
    class_ids: set[int],
    objects: dict[str, int],
    seen: set[str],
    report: SplitReport,
) -> Iterator[str]:
    features: Any = parse(content)
    if features is None:
        yield "it is no tf.train.Example"
        return
    key, count = source_id(features), len(labels(features))
    report.objects += count
    problems = [picture_problem(features) or size_problem(features)]
    problems += object_problems(features, class_ids, split.masks)
    name = Path(split.annotation_file).name
    if key not in objects:
        problems.append(f"is not among the images of {name}")
    elif key in seen:
        problems.append("occurs twice")
    elif objects[key] != count:
        problems.append(f"has {count} objects, but {objects[key]} in {name}")
    seen.add(key)
    for problem in problems:
        if problem:
            yield f"image {key}: {problem}"


def _count_faults(
    split: SplitFiles, report: SplitReport, objects: dict[str, int], seen: set[str]
) -> Iterator[RecordFault]:
    """Compares what was counted with `dataset.json` and the annotation file."""
    pairs = {
        "records": (report.records, split.num_images, "images"),
        "objects": (report.objects, split.num_annotations, "objects"),
    }
    for kind, (found, told, noun) in pairs.items():
        if found != told:
            text = f"{found} {kind}, but dataset.json tells of {told} {noun}"
            yield RecordFault(split.tfrecords, None, text)
    missing = [key for key in objects if key not in seen]
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        text = f"{len(missing)} images have no record that can be read: {shown}"
        yield RecordFault(split.annotation_file, None, text)
