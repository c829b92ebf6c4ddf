"""TFRecord files, as `libra data verify` and the start of a training read them."""

import argparse
import copy
import io
import math
from pathlib import Path
from types import SimpleNamespace

from fuzzing.coco import Coco
from fuzzing.mutate import PIECES, TEXTS, change_bytes


def _long_id(examples):
    ids = examples[0].features.feature["image/source_id"].bytes_list.value
    ids[0] = b"a\n" * 2000


FOUND = {"a long id": _long_id}
_WHOLE = [0, 1, 2, 3, -1, 7, 40, 30, 2**31, 2**63 - 1, -(2**63)]
_FLOATS = [0.0, 1.0, 0.5, -0.5, 1e-7, 1 + 1e-7, 1e30, math.nan, math.inf, -math.inf]


class Records:
    """A converted folder of one file with three records."""

    lists_faults = False
    kept = ()

    def __init__(self, folder):
        self.folder = Coco(Path(folder) / "source").before
        (self.file,) = self.folder.glob("*.tfrecord")
        self.good, self.examples = self.file.read_bytes(), _examples(self.file)

    def fresh(self):
        """The examples."""
        return copy.deepcopy(self.examples)

    def generate(self, rng):
        if rng.random() < 0.3:
            return change_bytes(rng, self.good)
        examples = self.fresh()
        for _ in range(rng.choice([0, 1, 1, 2])):
            _change(rng, rng.choice(examples).features.feature)
        if rng.random() < 0.1:
            examples.append(copy.deepcopy(examples[0]))
        records = [each.SerializeToString() for each in examples]
        if rng.random() < 0.15:
            at = rng.randrange(len(records))
            records[at] = change_bytes(rng, records[at])
        return records

    def save(self, content):
        """Bytes as they are; examples, serialised or not, with right checksums."""
        import tensorflow as tf

        if isinstance(content, bytes):
            self.file.write_bytes(content)
            return
        with tf.io.TFRecordWriter(str(self.file)) as writer:
            for each in content:
                is_bytes = isinstance(each, bytes)
                writer.write(each if is_bytes else each.SerializeToString())

    def uses(self):
        from libra_tf.commands import data_verify
        from libra_tf.inputs.check_records import check_records

        args = argparse.Namespace(folder=str(self.folder), json=False)
        yield lambda: data_verify.run(args)
        data = SimpleNamespace(input_path=str(self.file), file_type="tfrecord")
        model = SimpleNamespace(num_classes=3)
        params = SimpleNamespace(task=SimpleNamespace(train_data=data, model=model))
        yield lambda: check_records(params, ["train_data"])


def _examples(file):
    import tensorflow as tf

    from libra_tf.data.record_reader import read_records

    records = [content for _, content in read_records(str(file))]
    return [tf.train.Example.FromString(content) for content in records]


def _change(rng, features):
    """Changes one feature: its values, their number, their type, or its name."""
    name = rng.choice(sorted(features))
    feature, what = features[name], rng.randrange(6)
    if what == 0:
        del features[name]
        return
    if what == 1:
        other = rng.choice(sorted(features))
        features[other].CopyFrom(feature)
        return
    kind = feature.WhichOneof("kind") if what < 5 else None
    kind = kind or rng.choice(["bytes_list", "float_list", "int64_list"])
    values = getattr(feature, kind).value
    new = [_value(rng, kind) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    if what == 2 and values:
        values[rng.randrange(len(values))] = _value(rng, kind)
    elif what == 3:
        values.extend(new)
    else:
        del values[:]
        values.extend(new)


def _value(rng, kind):
    if kind == "int64_list":
        return rng.choice(_WHOLE)
    if kind == "float_list":
        return rng.choice(_FLOATS)
    text = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
    return rng.choice([text, rng.choice(PIECES), _picture(rng)])


def _picture(rng):
    from PIL import Image

    buffer = io.BytesIO()
    size = rng.choice([(40, 30), (30, 40), (1, 1)])
    Image.new(rng.choice(["RGB", "L", "P", "I;16", "RGBA"]), size).save(buffer, "PNG")
    data = buffer.getvalue()
    return change_bytes(rng, data) if rng.random() < 0.5 else data
