"""Images that users hand to a detector."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from libra_tf.data.exif import read_orientation
from libra_tf.data.folder_listing import list_folder
from libra_tf.data.image_names import has_image_suffix
from libra_tf.data.images import FORMATS, MAX_PIXELS
from libra_tf.data.transcode import passes, to_rgb
from libra_tf.errors import UserError
from libra_tf.ops import exif


def list_images(paths: Iterable[str]) -> list[Path]:
    """Returns the files, and the images in the folders, in order, each once.

    Hidden files and folders in a folder are passed over, as in conversion, and links to
    folders are followed once.

    Raises:
        UserError: a path does not exist or may not be read, or a folder holds no image.
    """
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            listing = list_folder(path)
            inside = [p for p in listing.files if has_image_suffix(p.name)]
            if not inside:
                raise UserError(f"{path}: no image in this folder")
            found.update(dict.fromkeys(inside))
        elif path.is_file():
            found[path] = None
        else:
            raise UserError(f"{path}: no such file or folder")
    return list(found)


def read_rgb(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes an image, turned upright as its EXIF tag says: [H, W, 3] uint8.

    With TensorFlow's decoder where it reads the file unaided, as in training: Pillow's
    JPEG decoder rounds otherwise, which moves scores in the third decimal.

    Raises:
        UserError: it cannot be decoded, or has more than `max_pixels` pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise UserError(
                    f"{path}: {width}x{height} pixels, more than the limit of "
                    f"{max_pixels}; make it smaller, or raise --max-pixels"
                )
            data = path.read_bytes()
            orientation = read_orientation(data)
            if passes(picture, data):
                return _decode(data, orientation)
            return np.asarray(to_rgb(picture, data, path, orientation)[0])
    except UserError:
        raise
    except Exception as error:  # Pillow raises many kinds for broken files.
        text = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be decoded as an image ({text})") from error


def _decode(data: bytes, orientation: int) -> np.ndarray:
    import tensorflow as tf

    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    return exif.turn_upright(image, orientation).numpy()
