"""Pictures as files and as text of a page."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np

from libra_tf.errors import UserError
from libra_tf.files.json_files import write_file

_QUALITY = 85  # of JPEG


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] as the type that the file's ending names, in one step."""
    from PIL import Image

    buffer = io.BytesIO()
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind not in Image.SAVE:
        raise UserError(f"{path}: unknown kind of picture; name it .jpg or .png")
    Image.fromarray(image).save(buffer, format=kind)
    write_file(path, buffer.getvalue())


def jpeg_uri(image: np.ndarray) -> str:
    """Returns uint8 [H, W, 3] as a `data:` URI, which a page shows without a file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=_QUALITY)
    return data_uri("image/jpeg", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Returns content of a MIME type as a `data:` URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
