"""`libra predict`: detections of images as COCO JSON and as pictures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libra_tf.data.images import MAX_PIXELS
from libra_tf.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from libra_tf.data.records import FileId
    from libra_tf.drawing.gallery import Shown
    from libra_tf.inference.own_ids import OwnIds

EPILOG = """\
examples:
  libra predict photos/ --model runs/first --out predictions
  libra predict a.jpg b.png --model exported/saved_model --threshold 0.3 --out P
  libra predict photos/ --model runs/first --annotations val.json --show-truth --out P

--out DIR gets detections.json (COCO results in pixels of the original images, with the
file names), one picture per image, and index.html, which shows them all. Ids of images
and classes are those of --annotations, as the data set's source wrote them; else images
are numbered from 1, and classes have the ids of the training split's source.
A SavedModel is a program. One that can reach files or processes is listed and refused;
--trust runs it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("images", metavar="IMAGES", nargs="+", help="image files or folders")
    add("--model", metavar="M", required=True,
        help="folder of a run, checkpoint prefix, or SavedModel")  # fmt: skip
    add("--newest", action="store_true", help="the newest checkpoint, not the best")
    add("--out", metavar="DIR", required=True, help="output folder")
    add(
        "--threshold",
        type=float,
        default=0.5,
        help="lowest score in pictures (default 0.5)",
    )
    add("--annotations", metavar="A.json", help="COCO file that gives the ids")
    add("--show-truth", action="store_true",
        help="draw the boxes of --annotations too, as white dashes")  # fmt: skip
    add("--line-width", type=int, metavar="PIXELS", help="of boxes; default: 1 or more")
    add("--no-labels", action="store_true", help="draw boxes without class and score")
    add("--no-pictures", action="store_true", help="write detections.json only")
    add("--max-pixels", type=int, default=MAX_PIXELS, help="refuse larger images")
    add("--trust", action="store_true",
        help="run a SavedModel that can reach files or processes")  # fmt: skip
    add("--json", action="store_true", help="print the detections on stdout")


def run(args: argparse.Namespace) -> int:
    """Detects; returns 0, or 2 if an image could not be read."""
    from libra_tf.files.atomic import make_folder
    from libra_tf.files.json_files import write_json
    from libra_tf.files.writable import require_writable
    from libra_tf.inference.detector import load_detector
    from libra_tf.inference.images import list_images
    from libra_tf.inference.own_ids import read_own_ids
    from libra_tf.inference.own_truth import read_own_truth

    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold is {args.threshold}; give a score from 0 to 1")
    if args.max_pixels < 1:
        raise UserError(f"--max-pixels is {args.max_pixels}; give 1 or more")
    _check_drawing(args)
    files = list_images(args.images)
    _refuse_folder_of_inputs(args.out, files)
    make_folder(args.out)
    found = os.path.join(args.out, "detections.json")
    require_writable([args.out], replaced=[found])
    own = read_own_ids(args.annotations) if args.annotations else None
    truth = read_own_truth(args.annotations) if args.show_truth else {}
    ids = _image_ids(files, own)
    detector = load_detector(args.model, newest=args.newest, trust=args.trust)
    if own:
        detector.file_ids = own.of_classes(detector.class_names, detector.file_ids)
    results, failed = _detect_all(files, ids, detector, truth, args)
    write_json(found, results)
    if args.json:
        print(json.dumps(results))
    else:
        print(*_summary(results, len(files) - failed, args), sep="\n")
    if failed:
        print(f"libra: {failed} of {len(files)} images failed", file=sys.stderr)
    return 2 if failed else 0


def _check_drawing(args: argparse.Namespace) -> None:
    from libra_tf.drawing.frames import check_width

    if args.line_width is not None:
        check_width(args.line_width)
    if args.show_truth and not args.annotations:
        raise UserError("--show-truth needs --annotations, the COCO file of the images")
    if args.no_pictures and (args.show_truth or args.no_labels or args.line_width):
        raise UserError(
            "--no-pictures: there is nothing to draw with --show-truth, --line-width "
            "or --no-labels"
        )


def _summary(
    results: list[dict], num_images: int, args: argparse.Namespace
) -> list[str]:
    scores = [result["score"] for result in results]
    strong = sum(score >= args.threshold for score in scores)
    lines = [
        f"{num_images} images, {strong} detections with score >= {args.threshold} "
        f"({len(results)} in all), written to {args.out}"
    ]
    if scores and not strong:
        lines.append(
            f"none reaches --threshold {args.threshold}; the best score is "
            f"{max(scores):.3g}: give a lower --threshold to see it in the pictures"
        )
    return lines


def _detect_all(
    files: list[Path],
    ids: dict[Path, FileId],
    detector: Any,
    truth: Mapping[FileId, np.ndarray],
    args: argparse.Namespace,
) -> tuple[list[dict], int]:
    """Returns the detections, and how many images could not be read; draws."""
    from libra_tf.drawing.gallery import write_gallery
    from libra_tf.files.progress_line import ProgressLine

    shown: list[Shown] = []
    progress = ProgressLine("predict", len(files)) if len(files) > 1 else None
    results: list[dict] = []
    failed, names = 0, _picture_names(files)
    for path in files:
        try:
            image, found = _detect(path, detector, args.max_pixels)
        except UserError as error:
            failed += 1
            print(f"libra: error: {error}", file=sys.stderr)
            if progress:
                progress.step()
            continue
        if found.num_dropped:
            failed += 1
            print(
                f"libra: error: {path}: {found.num_dropped} detections are no finite "
                f"numbers and were left out; the weights of {detector.source} are bad",
                file=sys.stderr,
            )
        results += _results(ids[path], path, found, detector)
        if not args.no_pictures:
            out = Path(args.out, names[path])
            boxes = truth.get(ids[path])
            shown.append(_draw(path, out, image, found, detector, boxes, args))
        if progress:
            progress.step()
    if progress:
        progress.finish()
    if not args.no_pictures:
        write_gallery(
            args.out, shown, detector.class_names, args.threshold, args.show_truth
        )
    return results, failed


def _detect(path: Path, detector: Any, max_pixels: int) -> tuple[Any, Any]:
    """Returns the image of a file and the detections in it."""
    from libra_tf.inference.images import read_rgb

    image = read_rgb(path, max_pixels)
    try:
        return image, detector.detect(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _refuse_folder_of_inputs(out: str, files: list[Path]) -> None:
    """Pictures are named after the images: they would take their place."""
    for path in files:
        if path.resolve().parent == Path(out).resolve():
            raise UserError(f"--out {out} holds the image {path}; name another folder")


def _image_ids(files: list[Path], own: OwnIds | None) -> dict[Path, FileId]:
    """Returns the ids that the source of the annotations has."""
    if own is None:
        return {path: i for i, path in enumerate(files, start=1)}
    return {path: own.of_image(path) for path in files}


def _picture_names(files: list[Path]) -> dict[Path, str]:
    """Names of the pictures: the image's, made unique where two folders share one."""
    names: dict[Path, str] = {}
    stems = {path.stem for path in files}
    taken: set[str] = set()
    for path in files:
        name, count = path.stem, 1
        while name in taken:
            count += 1
            numbered = f"{path.stem}_{count}"
            name = name if numbered in stems else numbered
        taken.add(name)
        names[path] = f"{name}.png"
    return names


def _results(image_id: FileId, path: Path, found: Any, detector: Any) -> list[dict]:
    from libra_tf.evaluation.coco_results import to_coco_results

    names = detector.class_names
    results = []
    for result in to_coco_results(
        0, found.boxes, found.classes, found.scores, found.masks
    ):
        category = result["category_id"]
        # Of a gap in the ids: no object is that, and the source may mean another.
        if names and category not in names:
            continue
        result["image_id"] = image_id
        result["category_id"] = detector.file_ids.get(category, category)
        result["file_name"] = str(path)
        if category in names:
            result["category_name"] = names[category]
        results.append(result)
    return results


def _draw(
    source: Path,
    out: Path,
    image: np.ndarray,
    found: Any,
    detector: Any,
    truth: np.ndarray | None,
    args: argparse.Namespace,
) -> Shown:
    from libra_tf.drawing.detections import decode_masks, draw_detections
    from libra_tf.drawing.gallery import Shown
    from libra_tf.drawing.image_files import save_image

    picture = draw_detections(
        image,
        found.boxes,
        found.classes,
        found.scores,
        detector.class_names,
        threshold=args.threshold,
        masks=decode_masks(found.masks),
        truth=truth,
        width=args.line_width,
        labels=not args.no_labels,
    )
    save_image(out, picture)
    drawn = found.classes[found.scores >= args.threshold]
    return Shown(out.name, str(source), [int(c) for c in drawn])
