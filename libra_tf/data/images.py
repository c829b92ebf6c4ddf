"""Image files of strangers: find them, check them, hand back what TensorFlow reads.

Model Garden decodes with `tf.io.decode_image`, which knows neither EXIF rotation nor
WebP, gives GIFs a fourth dimension, and stops a whole run at a broken file. So each
file is decoded once while converting. 8-bit RGB or gray JPEG and PNG pass unchanged;
everything else becomes RGB.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from libra_tf.data.image_names import match_name
from libra_tf.data.records import ImageRecord
from libra_tf.data.transcode import EncodedImage, is_complete, passes, transcode
from libra_tf.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 512 << 20
# Named one by one: Pillow would also start programs (EPS) or open fonts and films.
# JPEG includes MPO, the cameras' JPEG with previews.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
ORIENTATION_TAG = 0x0112


def find_image(image_dir: str | Path, name: str) -> Path:
    """Returns the file `name` of the folder, never one outside of it.

    A name that is written otherwise than the file's is understood; see `image_names`.

    Raises:
        UserError: the name leaves the folder, or there is no such file, or several.
    """
    match = match_name(image_dir, name)
    name = match.name if match else name
    parts = name.replace("\\", "/").split("/")
    if os.path.isabs(name) or ".." in parts or "\0" in name:
        raise UserError(
            f"{name!r}: file_name must stay inside the image folder {image_dir}; "
            "write it relative to that folder"
        )
    root = os.path.realpath(image_dir)
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(os.path.join(root, "")):
        raise UserError(
            f"{name!r}: the file is a link to {path}, outside the image folder "
            f"{image_dir}; copy it there"
        )
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: is not a regular file")
    return Path(path)


def read_size(image_dir: str | Path, name: str) -> tuple[int, int]:
    """Returns width and height from the file's header."""
    path = find_image(image_dir, name)
    return _open(path, _read(path)).size


def read_image(
    image_dir: str | Path, image: ImageRecord, max_pixels: int = MAX_PIXELS
) -> EncodedImage:
    """Reads, checks and decodes one image file.

    Args:
        image_dir: the folder that `image.file_name` is relative to.
        image: the record; its size must be the file's.
        max_pixels: larger images are refused by their header, before any pixel.

    Returns:
        The file unchanged where TensorFlow reads it as RGB or gray of 8 bits, else
        transcoded to RGB (JPEG where it was lossy, else PNG). Transparency is dropped.

    Raises:
        UserError: names the file, the image id and what to do.
    """
    try:
        # Pillow's warnings name no file; its cap on pixels gives way to ours.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_checked(image_dir, image, max_pixels)
    except UserError as error:
        raise UserError(f"image {image.id}: {error}") from error


def _read_checked(
    image_dir: str | Path, image: ImageRecord, max_pixels: int
) -> EncodedImage:
    path = find_image(image_dir, image.file_name)
    data = _read(path)
    picture = _open(path, data)
    _check_header(picture, image, path, max_pixels)
    _decode(picture, data, path)
    if passes(picture, data):
        return EncodedImage(data, "png" if picture.format == "PNG" else "jpeg")
    return transcode(picture, path)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path}: larger than {MAX_FILE_BYTES} bytes; remove it")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _open(path: Path, data: bytes) -> Image:
    """Reads the header."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: not an image of a known kind ({known})") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too many pixels: {error}; scale it down") from error
    except Exception as error:  # Pillow's readers raise whatever the bytes provoke.
        raise UserError(f"{path}: broken image header: {error}") from error


def _check_header(
    picture: Image, image: ImageRecord, path: Path, max_pixels: int
) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise UserError(
            f"{path}: {width}x{height} is more than {max_pixels} pixels; scale it "
            "down or raise --max-pixels"
        )
    if picture.size != (image.width, image.height):
        raise UserError(
            f"{path}: the file is {width}x{height} but the annotations say "
            f"{image.width}x{image.height} (width x height); mend width and height, "
            "and see that the boxes fit the file"
        )


def _check_frames(picture: Image, path: Path) -> None:
    frames = getattr(picture, "n_frames", 1)
    # The further pictures of an MPO are a camera's previews.
    if frames > 1 and picture.format != "MPO":
        raise UserError(f"{path}: holds {frames} frames; save the annotated one alone")


def _check_orientation(picture: Image, path: Path) -> None:
    orientation = picture.getexif().get(ORIENTATION_TAG, 1)
    if orientation in range(2, 9):
        raise UserError(
            f"{path}: EXIF orientation is {orientation}, which training ignores, so "
            "boxes drawn on the upright picture would be wrong; turn the pixels "
            "(mogrify -auto-orient), or if the boxes fit the stored pixels remove "
            "the tag (exiftool -Orientation=)"
        )


def _decode(picture: Image, data: bytes, path: Path) -> None:
    if not is_complete(data, picture.format):
        raise UserError(f"{path}: the file is cut short; replace or remove the image")
    try:
        _check_frames(picture, path)
        _check_orientation(picture, path)
        picture.load()
    except UserError:
        raise
    except Exception as error:  # As in `_open`.
        raise UserError(
            f"{path}: cannot be decoded ({error}); replace or remove the image"
        ) from error
