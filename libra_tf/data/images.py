"""Image files of strangers: find them, check them, hand back what TensorFlow reads.

Model Garden decodes with `tf.io.decode_image`, which knows neither EXIF rotation nor
WebP, gives GIFs a fourth dimension, and stops a whole run at a broken file. So each
file is decoded once while converting. 8-bit RGB or gray JPEG and PNG pass unchanged;
everything else becomes RGB, and upright.
"""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from libra_tf.data.exif import UPRIGHT, read_orientation, stored_and_upright
from libra_tf.data.image_names import match_name
from libra_tf.data.records import Dataset, ImageRecord
from libra_tf.data.transcode import EncodedImage, is_complete, passes, transcode
from libra_tf.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

# Of a picture, wherever one is read: in conversion, prediction and SavedModels.
MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 512 << 20
# Named one by one: Pillow would also start programs (EPS) or open fonts and films.
# JPEG includes MPO, the cameras' JPEG with previews.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
# What is done with a turned picture whose annotated size does not tell what the boxes
# were drawn on.
EXIF_CHOICES = ("refuse", "turn", "ignore")


def find_image(image_dir: str | Path, name: str) -> Path:
    """Returns the file `name` of the folder, never one outside of it.

    A name that is written otherwise than the file's is understood; see `image_names`.

    Raises:
        UserError: the name leaves the folder, or there is no such file, or several.
    """
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise UserError(f"{name!r}: no file can have this name; mend it") from None
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


def read_size(
    image_dir: str | Path, name: str, exif: str = "refuse"
) -> tuple[int, int]:
    """Returns width and height from the file's header, for annotations without them.

    Args:
        image_dir: the folder that `name` is relative to.
        name: of the file.
        exif: one of `EXIF_CHOICES`, for a picture that its tag turns: refuse it, take
            the size of the upright picture, or that of the stored pixels.

    Raises:
        UserError: there is no such picture, or its tag leaves its size open.
    """
    path = find_image(image_dir, name)
    data = _read(path)
    picture, orientation = _open(path, data), read_orientation(data)
    stored, upright = stored_and_upright(picture, orientation)
    if orientation != UPRIGHT and exif == "refuse":
        raise _open_question(
            path, orientation, "the annotations have no size", picture.format
        )
    return stored if exif == "ignore" else upright


def read_image(
    image_dir: str | Path,
    image: ImageRecord,
    max_pixels: int = MAX_PIXELS,
    exif: str = "refuse",
) -> EncodedImage:
    """Reads, checks and decodes one image file.

    Args:
        image_dir: the folder that `image.file_name` is relative to.
        image: the record; its size must be the file's, or that of the picture as its
            EXIF tag turns it.
        max_pixels: larger images are refused by their header, before any pixel.
        exif: one of `EXIF_CHOICES`, for a turned picture whose size is annotated as it
            is stored: refuse it, turn it if that leaves its size, or let the stored
            pixels count.

    Returns:
        The file unchanged where TensorFlow reads it as RGB or gray of 8 bits, else
        transcoded to RGB (JPEG where it was lossy, else PNG). Transparency is dropped,
        and a turned picture is upright.

    Raises:
        UserError: names the file, the image id and what to do.
    """
    try:
        # Pillow's warnings name no file; its cap on pixels gives way to ours.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_checked(image_dir, image, max_pixels, exif)
    except UserError as error:
        raise UserError(f"image {image.id}: {error}") from error


def _read_checked(
    image_dir: str | Path, image: ImageRecord, max_pixels: int, exif: str
) -> EncodedImage:
    path = find_image(image_dir, image.file_name)
    data = _read(path)
    picture = _open(path, data)
    orientation = read_orientation(data)
    _check_header(picture, image, path, max_pixels, orientation)
    finding = _check_orientation(picture, image, path, orientation, exif)
    _decode(picture, data, path)
    if orientation == UPRIGHT and passes(picture, data):
        return EncodedImage(data, "png" if picture.format == "PNG" else "jpeg")
    turn = orientation if finding == "turned" else UPRIGHT
    return transcode(picture, data, path, turn, finding)


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
    picture: Image, image: ImageRecord, path: Path, max_pixels: int, orientation: int
) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise UserError(
            f"{path}: {width}x{height} is more than {max_pixels} pixels; scale it "
            "down or raise --max-pixels"
        )
    stored, upright = stored_and_upright(picture, orientation)
    if (image.width, image.height) not in (stored, upright):
        turned = f" turned upright by its EXIF orientation {orientation},"
        raise UserError(
            f"{path}: the file is {upright[0]}x{upright[1]}"
            f"{turned if orientation != UPRIGHT else ''} but the annotations say "
            f"{image.width}x{image.height} (width x height); mend width and height, "
            "and see that the boxes fit the picture as it is shown"
        )


def _check_frames(picture: Image, path: Path) -> None:
    frames = getattr(picture, "n_frames", 1)
    # The further pictures of an MPO are a camera's previews.
    if frames > 1 and picture.format != "MPO":
        raise UserError(f"{path}: holds {frames} frames; save the annotated one alone")


def _check_orientation(
    picture: Image, image: ImageRecord, path: Path, orientation: int, exif: str
) -> str | None:
    """Returns what is done with a turned picture, a rule of `rules.RULES`."""
    if orientation == UPRIGHT:
        return None
    stored, upright = stored_and_upright(picture, orientation)
    annotated = (image.width, image.height)
    if annotated == upright and (annotated != stored or exif == "turn"):
        return "turned"
    if exif == "ignore" and picture.format != "TIFF":  # which Pillow has turned
        return "stored"
    why = f"the annotated {image.width}x{image.height} is the size of the stored pixels"
    raise _open_question(path, orientation, why, picture.format)


def _open_question(
    path: Path, orientation: int, why: str, kind: str | None
) -> UserError:
    """What is said where nothing tells what boxes were drawn on."""
    ignore = "" if kind == "TIFF" else "with --exif ignore, or "  # see above
    return UserError(
        f"{path}: EXIF orientation is {orientation}, and {why}, so it is open what the "
        "boxes were drawn on: if on the picture as it is shown, convert with --exif "
        f"turn; if on the stored pixels, {ignore}remove the tag (exiftool "
        "-Orientation=)"
    )


def _decode(picture: Image, data: bytes, path: Path) -> None:
    if not is_complete(data, picture.format):
        raise UserError(
            f"{path}: the file is cut short or damaged; replace or remove the image"
        )
    try:
        _check_frames(picture, path)
        picture.load()
    except UserError:
        raise
    except Exception as error:  # As in `_open`.
        raise UserError(
            f"{path}: cannot be decoded ({error}); replace or remove the image"
        ) from error


def with_upright_sizes(dataset: Dataset, image_dir: str | Path) -> Dataset:
    """Returns the data set with the sizes that turned pictures have upright.

    Where the annotations have the size of the stored pixels, as some labelling tools
    write it beside boxes that were drawn on the upright picture. A file that cannot be
    read leaves its record as it is; reading the image tells.
    """
    images = (_with_upright_size(image, image_dir) for image in dataset.images)
    return dataclasses.replace(dataset, images=tuple(images))


def _with_upright_size(image: ImageRecord, image_dir: str | Path) -> ImageRecord:
    try:
        path = find_image(image_dir, image.file_name)
        data = _read(path)
        sizes = stored_and_upright(_open(path, data), read_orientation(data))
    except UserError:
        return image
    if (image.width, image.height) != sizes[0]:
        return image
    width, height = sizes[1]
    return dataclasses.replace(image, width=width, height=height)
