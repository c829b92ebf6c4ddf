"""Reads what a run tells TensorBoard."""

import tensorflow as tf

from libra_tf.training.event_files import PATTERN


def event_scalars(folder, tag):
    """(step, value) of a tag in all files below a folder, as TensorBoard reads them."""
    found = []
    for path in sorted(folder.rglob(PATTERN)):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == tag:
                    found.append((event.step, float(tf.make_ndarray(value.tensor))))
    return found
