"""Errors of TensorFlow's input pipeline, with the files that they may be in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError


@contextlib.contextmanager
def named_data_errors(params: Any) -> Iterator[None]:
    """TensorFlow names neither file nor record of what it cannot read.

    Args:
        params: experiment whose records are read.

    Raises:
        UserError: a record is damaged.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        text = str(error)
        damaged = isinstance(error, tf.errors.DataLossError)
        if not damaged and "jpeg" not in text.lower() and "png" not in text.lower():
            raise
        files = [params.task.train_data.input_path]
        files.append(params.task.validation_data.input_path)
        line = next((x for x in text.splitlines() if "record" in x or "mage" in x), "")
        raise UserError(
            f"a record in {' or '.join(map(str, files))} is damaged ({line.strip()}); "
            "convert the data again"
        ) from error
