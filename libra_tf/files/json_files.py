"""JSON files: what cannot be read or written is one line that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from libra_tf.errors import UserError
from libra_tf.files.atomic import make_folder, write_bytes


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file: UTF-8, -16 or -32, with or without byte order mark.

    Every failure is a `UserError` that names the file.
    """
    try:
        raw = Path(path).read_bytes()
        text = raw.decode(json.detect_encoding(raw))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a JSON text file ({error.reason})") from error
    return parse_json(text, path)


def parse_json(text: str, name: str | os.PathLike) -> Any:
    """Parses the text of the JSON file `name`; see `read_json`."""
    if not text.strip():
        raise UserError(f"{name}: is empty; write it again")
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{name}: is not valid JSON: {error}") from error
    except RecursionError as error:
        raise UserError(f"{name}: is nested too deep to be read") from error


def write_json(path: str | os.PathLike, value: Any, indent: int | None = None) -> None:
    """Writes a JSON file in one step; see `write_file`."""
    write_file(path, json.dumps(value, indent=indent).encode() + b"\n")


def write_file(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file in one step: readers see the old file or the whole new one.

    Raises:
        UserError: when the folder cannot be made or the file not be written.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        write_bytes(path, [content])
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
