"""Errors of TensorFlow's input pipeline, with the files that they may be in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.inputs.check_records import first_fault


@contextlib.contextmanager
def named_data_errors(
    params: Any, names: Sequence[str] = ("train_data", "validation_data")
) -> Iterator[None]:
    """TensorFlow names neither file nor record of what it cannot read.

    So the files are read again after such an error, to the first record at fault.

    Args:
        params: experiment whose records are read.
        names: of the settings of its data that are in use.

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
        fault = first_fault(params, names)
        if fault:
            raise UserError(
                f"{fault}; convert the data again, or look for more with: libra data "
                "verify DIR"
            ) from error
        files = [getattr(params.task, name).input_path for name in names]
        line = next((x for x in text.splitlines() if "record" in x or "mage" in x), "")
        raise UserError(
            f"a record in {' or '.join(map(str, files))} is damaged ({line.strip()}); "
            "convert the data again"
        ) from error
