"""Picture files, as conversion, `libra predict` and `libra data verify` read them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np

from fuzzing.mutate import change_bytes

WIDTH, HEIGHT = 20, 12


def _chunk(name, body=b"", size=None, checksum=None):
    size = len(body) if size is None else size
    checksum = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", size) + name + body + struct.pack(">I", checksum)


def _before_end(data):
    """Where the last chunk of a PNG begins."""
    return len(data) - len(_chunk(b"IEND"))


FOUND = {
    "a chunk of a strange name": lambda data: (
        data[: _before_end(data)] + _chunk(b"ab\nc") + _chunk(b"IEND")
    ),
    "a header too long": lambda data: (
        data[:8] + _chunk(b"IHDR", data[16:29] + b"a") + data[33:]
    ),
    "an unknown compression": lambda data: (
        data[:8] + _chunk(b"IHDR", data[16:26] + b"\1" + data[27:29]) + data[33:]
    ),
    "a chunk beyond the end": lambda data: data[:33] + b"\0\0\x48\7" + data[37:],
    "pixels with a wrong checksum": lambda data: (
        data[: _before_end(data) - 4] + b"\0\0\0\0" + _chunk(b"IEND")
    ),
}


class Pictures:
    """One file, of any kind and mode."""

    lists_faults = False
    kept = ()

    def __init__(self, folder):
        self.folder = Path(folder)
        self.file = self.folder / "1.png"
        self.good = list(_pictures())

    def fresh(self):
        return self.good[0]

    def generate(self, rng):
        data = rng.choice(self.good)
        if rng.random() < 0.1:
            return data
        if data.startswith(b"\x89PNG") and rng.random() < 0.5:
            return _other_chunk(rng, data)
        # The headers are short, and tell most.
        part = data[: rng.choice([40, 200, len(data)])]
        data = change_bytes(rng, part) + data[len(part) :]
        if rng.random() < 0.05:
            data += rng.choice(self.good)
        return data

    def save(self, content):
        self.file.write_bytes(content)

    def uses(self):
        from libra_tf.data.images import read_image, read_size
        from libra_tf.data.record_checks import parse, picture_problem
        from libra_tf.data.records import ImageRecord
        from libra_tf.data.tfrecord import make_example
        from libra_tf.inference.images import list_images, read_rgb

        record = ImageRecord(1, self.file.name, WIDTH, HEIGHT)

        def pass_on():
            """What conversion takes, training can read."""
            encoded = read_image(self.folder, record, exif="turn")
            written = make_example(record, encoded, {1: "a"}, False)
            problem = picture_problem(parse(written))
            assert problem is None, problem

        yield pass_on
        yield lambda: read_image(self.folder, record)
        yield lambda: read_size(self.folder, self.file.name)

        def predict():
            (path,) = list_images([str(self.folder / self.file.name)])
            image = read_rgb(path, 10_000)
            assert image.dtype == np.uint8, image.dtype
            assert image.shape[2:] == (3,), image.shape

        yield predict


def _pictures():
    """Yields valid files; the first is plain."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    rgba = Image.fromarray(noise)
    modes = {
        "PNG": ["RGB", "L", "P", "1", "LA", "RGBA", "I;16"],
        "JPEG": ["RGB", "L", "CMYK"],
        "BMP": ["RGB", "L", "P", "1"],
        "WEBP": ["RGB", "RGBA"],
        "GIF": ["P", "L"],
        "TIFF": ["RGB", "L", "P", "CMYK", "I;16", "F"],
    }
    for kind, names in modes.items():
        for mode in names:
            if mode == "I;16":
                deep = noise[..., 0].astype(np.uint16) * 7
                picture = Image.fromarray(deep)
            else:
                picture = rgba.convert("RGB").convert(mode)
                picture = rgba if mode == "RGBA" else picture
            yield _saved(picture, kind)
    rgb = rgba.convert("RGB")
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        exif = Image.Exif()
        exif[0x0112] = 6
        yield _saved(rgb, kind, exif=exif)
    yield _saved(rgb, "JPEG", progressive=True)
    yield _saved(rgb, "TIFF", compression="tiff_lzw")
    yield _saved(rgb, "TIFF", compression="jpeg")
    yield _saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)])


def _saved(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _other_chunk(rng, data):
    """A PNG with one chunk more or another, all checksums right."""
    chunks, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if rng.random() < 0.5:
        at = rng.randrange(len(chunks))
        name, body = chunks[at]
        chunks[at] = (name, change_bytes(rng, body))
    else:
        name = rng.choice(
            [b"eXIf", b"tEXt", b"iCCP", b"tRNS", b"PLTE", b"sBIT", b"acTL", b"IEND",
             b"zTXt", b"IDAT", b"IHDR", b"gAMA", b"ab\nc"]
        )  # fmt: skip
        body = rng.choice(
            [b"", b"a", b"a\0\0" + zlib.compress(b"x" * 10**6),
             b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0"]
        )  # fmt: skip
        chunks.insert(rng.randrange(len(chunks) + 1), (name, body))
    return data[:8] + b"".join(_chunk(name, body) for name, body in chunks)
