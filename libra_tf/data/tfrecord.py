"""TFRecord shards in Model Garden's format.

Shards are written under hidden names beside their final ones and appear all together
at the end: `SPLIT-00000-of-0000N.tfrecord`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from libra_tf.data.example import (
    bytes_feature,
    encode_example,
    float_feature,
    int64_feature,
)
from libra_tf.data.masks import mask_png
from libra_tf.data.records import ImageRecord
from libra_tf.data.transcode import EncodedImage
from libra_tf.errors import UserError
from libra_tf.files.atomic import sync


def make_example(
    image: ImageRecord,
    encoded: EncodedImage,
    class_names: Mapping[int, str],
    masks: bool,
) -> bytes:
    """Returns the serialised `tf.train.Example` of one image.

    Args:
        image: the record; boxes must lie inside the image.
        encoded: the image's bytes.
        class_names: name of every category id.
        masks: whether to write a PNG mask for every object.

    Returns:
        Features as Model Garden's `TfExampleDecoder` reads them: `image/encoded`,
        `image/source_id` (the COCO image id, as text), `image/height`, `image/width`
        and per object `bbox/{xmin,xmax,ymin,ymax}` in [0, 1], `class/label`, `area` in
        square pixels, `is_crowd`, `mask`. Beyond those `image/filename`,
        `image/format` and `class/text`, for people.
    """
    features = {
        "image/encoded": bytes_feature([encoded.data]),
        "image/source_id": bytes_feature([str(image.id).encode()]),
        "image/height": int64_feature([image.height]),
        "image/width": int64_feature([image.width]),
        "image/filename": bytes_feature([_utf8(image.file_name)]),
        "image/format": bytes_feature([encoded.format.encode()]),
    }
    if image.annotations:
        features |= _object_features(image, class_names)
        if masks:
            pngs = [mask_png(image, annotation) for annotation in image.annotations]
            features["image/object/mask"] = bytes_feature(pngs)
    return encode_example(features)


def _object_features(
    image: ImageRecord, class_names: Mapping[int, str]
) -> dict[str, bytes]:
    objects = image.annotations
    width, height = image.width, image.height
    sides = {
        "xmin": [o.bbox[0] / width for o in objects],
        "xmax": [(o.bbox[0] + o.bbox[2]) / width for o in objects],
        "ymin": [o.bbox[1] / height for o in objects],
        "ymax": [(o.bbox[1] + o.bbox[3]) / height for o in objects],
    }
    names = [_utf8(class_names[o.category_id]) for o in objects]
    return {
        **{f"image/object/bbox/{k}": float_feature(v) for k, v in sides.items()},
        "image/object/class/label": int64_feature(o.category_id for o in objects),
        "image/object/class/text": bytes_feature(names),
        "image/object/area": float_feature(o.area for o in objects),
        "image/object/is_crowd": int64_feature(int(o.iscrowd) for o in objects),
    }


def _utf8(text: str) -> bytes:
    # JSON may hold half a surrogate pair, which is no UTF-8.
    return text.encode("utf-8", errors="replace")


class ShardWriter:
    """Writes records, in order, into a split's shards of equal size.

    Use as a context manager: without `publish` nothing is left behind.
    """

    def __init__(self, folder: Path, split: str, num_shards: int, num_records: int):
        self._folder, self._split = folder, split
        self._names = shard_names(split, num_shards)
        self._num_records = num_records
        self._written = 0
        self._shard = -1
        self._writer: Any = None

    def __enter__(self) -> ShardWriter:
        self._discard()  # What a killed conversion of this split left.
        return self

    def __exit__(self, *_: object) -> None:
        # Published shards are closed; of the others nothing is wanted.
        with contextlib.suppress(Exception):
            self._close()
        self._discard()

    def write(self, record: bytes) -> None:
        """Appends one serialised example."""
        shard = self._written * len(self._names) // self._num_records
        with _named(self._folder / self._names[shard]):
            self._open_up_to(shard)
            self._writer.write(record)
        self._written += 1

    def skip(self) -> None:
        """Leaves one of the records out; its shard has one less."""
        self._written += 1

    def publish(self) -> None:
        """Gives the shards their names and removes older ones of the split."""
        with _named(self._folder):
            self._open_up_to(len(self._names) - 1)
            self._close()
            for shard, name in enumerate(self._names):
                os.replace(self._draft(shard), self._folder / name)
            self._remove_stale()
            sync(self._folder)

    def _remove_stale(self) -> None:
        shape = re.compile(rf"{re.escape(self._split)}-\d{{5}}-of-\d{{5}}\.tfrecord")
        for path in self._folder.glob(f"{self._split}-*.tfrecord"):
            if path.name not in self._names and shape.fullmatch(path.name):
                path.unlink()

    def _open_up_to(self, shard: int) -> None:
        while self._shard < shard:
            self._open(self._shard + 1)

    def _open(self, shard: int) -> None:
        import tensorflow as tf

        self._close()
        self._writer = tf.io.TFRecordWriter(str(self._draft(shard)))
        self._shard = shard

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
            sync(self._draft(self._shard))

    def _draft(self, shard: int) -> Path:
        return self._folder / f".{self._names[max(shard, 0)]}.tmp"

    def _discard(self) -> None:
        for path in self._folder.glob(f".{self._split}-*.tfrecord.tmp"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns a failure to write into a line for people."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror}") from error
    except Exception as error:  # TensorFlow's kinds: disk full, no permission.
        raise UserError(f"{path}: cannot write: {error}") from error


def shard_names(split: str, num_shards: int) -> list[str]:
    """Returns the file names of a split's shards."""
    return [f"{split}-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
