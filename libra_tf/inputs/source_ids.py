"""Training labels that tell which image they are of.

Model Garden's parsers leave it out; validation has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf
from official.core import input_reader
from official.core.config_definitions import DataConfig
from official.vision.dataloaders import input_reader_factory

SOURCE_ID = "source_id"

Parse = Callable[[dict], tuple[tf.Tensor, dict]]


@contextlib.contextmanager
def labels_with_source_id() -> Iterator[None]:
    """Training pipelines that are built inside have the label `SOURCE_ID`, int64 [n].

    It is -1 where a record's id is no number.

    It wraps the parser that a pipeline is made of, where Model Garden makes its reader:
    the parser is made in Model Garden's task, and gets the decoded record whole.
    """
    make_reader = input_reader_factory.input_reader_generator

    def make(
        params: DataConfig, *, parser_fn: Parse, **kwargs: object
    ) -> input_reader.InputReader:
        parse = _with_source_id(parser_fn) if params.is_training else parser_fn
        return make_reader(params, parser_fn=parse, **kwargs)

    input_reader_factory.input_reader_generator = make
    try:
        yield
    finally:
        input_reader_factory.input_reader_generator = make_reader


def _with_source_id(parse: Parse) -> Parse:
    def parse_and_keep(record: dict) -> tuple[tf.Tensor, dict]:
        images, labels = parse(record)
        text = record[SOURCE_ID]
        is_number = tf.strings.regex_full_match(text, r"-?\d{1,18}")
        number = tf.strings.to_number(tf.where(is_number, text, "-1"), tf.int64)
        return images, {**labels, SOURCE_ID: number}

    return parse_and_keep
