"""The pictures of a data set before they are decoded: where they lie, how large."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from libra_tf.data.faults import Fault
from libra_tf.data.findings import Findings
from libra_tf.data.images import find_image, read_size
from libra_tf.data.masks import check_segmentation
from libra_tf.data.records import Dataset, ImageRecord
from libra_tf.errors import UserError


def locate(dataset: Dataset, image_dir: str | Path) -> tuple[Dataset, dict[int, Path]]:
    """Finds every picture.

    Returns:
        The data set without the pictures that are not there, which are faults now, and
        the file of every image id. Records that reach one file are counted.
    """
    findings, faults = dataset.findings.copy(), list(dataset.faults)
    paths: dict[int, Path] = {}
    for image in dataset.images:
        try:
            paths[image.id] = find_image(image_dir, image.file_name)
        except UserError as error:
            faults.append(Fault(f"{image}: {error}", image.id))
    records = Counter(paths.values())
    for path, number in records.items():
        if number > 1:
            findings.add("one_picture", path.name)
    kept = tuple(image for image in dataset.images if image.id in paths)
    found = replace(dataset, images=kept, findings=findings, faults=tuple(faults))
    return found, paths


def fill_sizes(
    dataset: Dataset, image_dir: str | Path, exif: str = "refuse"
) -> Dataset:
    """Reads the sizes that the annotations do not tell from the files' headers.

    Segmentations, which could not be checked without a size, are checked then.

    Args:
        dataset: as a reader returned it.
        image_dir: the folder that its file names are relative to.
        exif: see `read_size`.
    """
    findings, faults = dataset.findings.copy(), list(dataset.faults)
    images = []
    for image in dataset.images:
        try:
            if not image.width:
                width, height = read_size(image_dir, image.file_name, exif)
                image = replace(image, width=width, height=height)
                image = _check_outlines(image, dataset.source, findings)
                findings.add("sizes_read", image.file_name)
            images.append(image)
        except UserError as error:
            faults.append(Fault(f"{image}: {error}", image.id))
    return replace(
        dataset, images=tuple(images), findings=findings, faults=tuple(faults)
    )


def _check_outlines(image: ImageRecord, source: str, findings: Findings) -> ImageRecord:
    annotations = tuple(
        replace(
            annotation,
            segmentation=check_segmentation(
                annotation.segmentation,
                image.width,
                image.height,
                f"{source}: annotation {annotation.name!r}",
                findings,
                annotation.name,
            ),
        )
        for annotation in image.annotations
    )
    return replace(image, annotations=annotations)
