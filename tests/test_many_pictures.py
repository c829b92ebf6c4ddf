"""A thousand pictures through a SavedModel: the answers of predict, and no growth."""

import io
import random
import resource

import numpy as np
import pytest
from detections import Detections, assert_detections_close
from PIL import Image
from test_encoded_images import ask, exported, in_pixels  # noqa: F401  (fixture)

from libra_tf.errors import UserError
from libra_tf.inference.detector import load_detector
from libra_tf.inference.images import read_rgb

pytestmark = pytest.mark.nightly
COUNT, WARM, MOST_IN_A_BATCH = 1000, 300, 8
KINDS = {
    "RGB": ["JPEG", "PNG", "BMP", "WEBP", "GIF"],
    "L": ["JPEG", "PNG", "BMP", "GIF"],
    "RGBA": ["PNG", "WEBP"],
    "I;16": ["PNG"],
}
ORIENTATION = 0x0112


def picture(seed):
    """Returns the bytes of a picture, one in ten of them spoilt."""
    draw, numbers = random.Random(seed), np.random.default_rng(seed)
    width, height = (draw.choice([1, 7, 33, 64, 120, 301]) for _ in range(2))
    mode = draw.choice(list(KINDS))
    shape = {"RGB": [3], "RGBA": [4]}.get(mode, [])
    small = numbers.integers(0, 256, [4, 4, *shape], np.uint8)
    if mode == "I;16":
        image = Image.fromarray(numbers.integers(0, 65536, [height, width], np.uint16))
    else:
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    kind, buffer = draw.choice(KINDS[mode]), io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "JPEG":
        exif = Image.Exif()
        exif[ORIENTATION] = draw.randint(1, 8)
        options = {"exif": exif, "progressive": draw.random() < 0.3}
    image.save(buffer, kind, **options)
    data = buffer.getvalue()
    return data[: len(data) // 2] if draw.random() < 0.1 else data


def predicted(detector, data, path):
    """What `libra predict` finds in a file; None where it refuses it."""
    path.write_bytes(data)
    try:
        return detector.detect(read_rgb(path))
    except UserError:
        return None


def megabytes():
    """Most that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_mixed_pictures(exported, tmp_path):  # noqa: F811
    run, model = exported
    detector, draw = load_detector(run), random.Random(0)
    done, refused, before = 0, 0, None
    while done < COUNT:
        files = [picture(done + i) for i in range(draw.randint(1, MOST_IN_A_BATCH))]
        outputs = ask(model, "image_bytes", files)
        for i, data in enumerate(files):
            expected = predicted(detector, data, tmp_path / "x")
            size = np.asarray(outputs["image_info"])[i, 0]
            if expected is None:
                refused += 1
                assert not size.any(), done + i
                assert outputs["num_detections"][i] == 0
            else:
                assert size.all(), done + i
                expected = Detections(expected.boxes, expected.scores, expected.classes)
                side = int(max(size))
                assert_detections_close(
                    in_pixels(outputs, i), expected, side=side, most=10
                )
        done += len(files)
        if before is None and done >= WARM:
            before = megabytes()
    print(f"{done} pictures, {refused} spoilt, {megabytes() - before:.0f} MB more")
    assert 0 < refused < done / 5
    assert megabytes() - before < 30
