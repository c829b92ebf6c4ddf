"""Model Garden's reader of records, with a decoder and a parser of our choice."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from official.common import dataset_fn
from official.core.config_definitions import DataConfig
from official.vision.dataloaders import input_reader, input_reader_factory


def read_records(
    params: DataConfig,
    decode: Callable,
    parse: Callable,
    input_context: tf.distribute.InputContext | None = None,
    pick_dataset: Callable | None = None,
) -> tf.data.Dataset:
    """Returns batches, read as Model Garden's tasks read them.

    Args:
        params: settings of the data.
        decode: from a serialised example to its tensors.
        parse: from those to an image and its labels.
        input_context: of the strategy.
        pick_dataset: makes a data set of file names; by `params.file_type` if None.
    """
    reader = input_reader_factory.input_reader_generator(
        params,
        dataset_fn=pick_dataset or dataset_fn.pick_dataset_fn(params.file_type),
        decoder_fn=decode,
        combine_fn=input_reader.create_combine_fn(params),
        parser_fn=parse,
    )
    return reader.read(input_context=input_context)
