"""Files as `torch.save` would never write them, by seed; and a reader within limits.

    python tests/torch_fuzz.py seeds FOLDER FIRST LAST
    python tests/torch_fuzz.py files FOLDER

Reads files in a process that may take little memory: those of the seeds from FIRST to
below LAST, or those in FOLDER. Each must be read, or be refused with one printable line
that names the file. Prints JSON: of seeds how many files there were, how many could be
read, and what went wrong; of a folder what was said of each file, null if it was read.
"""

import io
import json
import random
import re
import resource
import signal
import struct
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
from torch_files import Pickler, Raw, Tensor, ordered, write_stream, write_zip

from libra_tf.errors import UserError
from libra_tf.torch_files.state_dict import read_state_dict

MEMORY = 400 * 2**20  # beyond what the process has once its modules are loaded
SECONDS = 5.0  # for each file, on a shared core
ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

NAMES = [
    b"collections\nOrderedDict", b"torch._utils\n_rebuild_tensor_v2",
    b"torch._utils\n_rebuild_parameter", b"torch\nFloatStorage", b"os\nsystem",
    b"torch\nHalfStorage", b"x\ny\x1b[2J", b"builtins\neval",
]  # fmt: skip


def run(folder, seeds):
    """Reads the file of each seed; returns counts and failures."""
    read, failures, slowest = 0, [], 0.0
    for seed in seeds:
        path = Path(folder, "x.pth")
        write(path, seed)
        start = time.monotonic()
        try:
            read += refusal(path) is None
        except BaseException as error:  # MemoryError and the alarm too
            failures.append({"seed": seed, "error": f"{error!r}"[:300]})
        slowest = max(slowest, time.monotonic() - start)
    return {
        "count": len(seeds), "read": read, "slowest": round(slowest, 2),
        "failures": failures,
    }  # fmt: skip


def read_folder(folder):
    """Returns what is said of each file by its name."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        try:
            found[path.name] = refusal(path)
        except BaseException as error:
            found[path.name] = f"{error!r}"[:300]
    return found


def refusal(path):
    """Returns what a file is refused with; None if it is read, in whole and in time."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        state = read_state_dict(path)
        for name in state.tensors:
            assert state.array(name).shape == state.tensors[name].shape
    except UserError as error:
        text = str(error)
        assert text.startswith(f"{path}: "), text
        assert text.isprintable(), text
        assert len(text) < 1500, text
        return text
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def write(path, seed):
    """Writes the file of a seed."""
    rng = random.Random(seed)
    content = _content(rng)
    (write_zip if rng.random() < 0.6 else write_stream)(path, content)
    data = path.read_bytes()
    if data[:2] == b"PK" and rng.random() < 0.4:
        data = _other_records(rng, data)
    if rng.random() < 0.2:
        data = _damaged(rng, data)
    path.write_bytes(data)


def _content(rng):
    """A checkpoint with strange parts, or a program of the pickle machine."""
    kind = rng.randrange(12)
    if kind == 0:
        return Raw(_program(rng))
    weights = {f"layer{i}.weight": _tensor(rng) for i in range(rng.randrange(1, 6))}
    if kind == 1:
        weights[rng.choice(["", "a\nb", "\x1b[2J", "x" * 10_000, "ä"])] = ARRAY
    if kind == 2:
        weights["strange"] = Raw(_program(rng))
    meta = Raw(rng.choice([lambda r: b"N", _program, _loop])(rng))
    content = {"state_dict": ordered(weights), "meta": meta}
    if kind == 3:
        content["ema_state_dict"] = {"module.a": _tensor(rng), "steps": 3}
    return content


def _tensor(rng):
    if rng.random() < 0.9:
        return ARRAY
    edge = [-1, 0, 1, 2, 3, 24, 25, 2**20, 2**31, 2**48, 2**64]
    axes = rng.choice([0, 1, 2, 3, 33])
    return Tensor(
        ARRAY,
        offset=rng.choice(edge),
        shape=tuple(rng.choice(edge) for _ in range(axes)),
        stride=tuple(rng.choice(edge) for _ in range(axes + rng.choice([0, 0, 0, 1]))),
        type=rng.choice(["", "bfloat16", "bool", "ComplexFloatStorage", "float64"]),
        size=rng.choice([None, *edge]),
    )


def _program(rng):
    """Instructions that leave one value, of which some are made wrong."""
    code = _value(rng, 4)
    if rng.random() < 0.3:
        place = rng.randrange(len(code) + 1)
        code = code[:place] + rng.choice(_WRONG) + code[place:]
    return code


def _value(rng, depth):
    kinds = _LEAVES if depth == 0 else _LEAVES + _BRANCHES
    return rng.choice(kinds)(rng, depth - 1)


def _values(rng, depth):
    return b"".join(_value(rng, depth) for _ in range(rng.randrange(5)))


def _plain(rng, _):
    return rng.choice(
        [b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"K\x07", b"J\xff\xff\xff\xff",
         b"L9L\n", b"Fnan\n", b"G" + b"\x7f" * 8, b"S'a'\n", b"I" + b"9" * 5000 + b"\n"]
    )  # fmt: skip


def _whole(rng, _):
    size = rng.choice([0, 1, 9, 255])
    return b"\x8a" + bytes([size]) + rng.randbytes(size)


def _text(rng, _):
    text = rng.choice([b"", b"a", b"state_dict", b"\n\x1b[0m", b"x" * 3000])
    return rng.choice([b"X", b"B"]) + struct.pack("<I", len(text)) + text


def _array(rng, _):
    return Pickler().code(_tensor(rng))


def _marked(rng, depth):
    """A tuple, list, frozen set, or a list or dict that gets its content afterwards."""
    start, end = rng.choice(
        [(b"(", b"t"), (b"(", b"l"), (b"(", b"\x91"), (b"](", b"e"), (b"}(", b"u"),
         (b"(", b"d"), (b"\x8f(", b"\x90")]
    )  # fmt: skip
    pairs = _values(rng, depth) if end not in (b"u", b"d") else b""
    for _ in range(rng.randrange(4) if not pairs else 0):
        pairs += _value(rng, 0) + _value(rng, depth)
    return start + pairs + end


def _called(rng, depth):
    name = b"c" + rng.choice(NAMES) + b"\n"
    kept = rng.choice([b"q\x05", b"q\x05", b"r\0\0\0\x7f"])
    built = b"}b" if rng.random() < 0.3 else b""
    arguments = b"(" + _values(rng, depth) + b"t" + kept
    return name + arguments + rng.choice([b"R", b"\x81"]) + built


def _long(rng, depth):
    """A part again and again: wide, deep, or in a dict."""
    part, count = _value(rng, min(depth, 1)), 10 ** rng.randrange(1, 6)
    count = min(count, 200_000 // len(part) + 1)
    key = b"X\x01\0\0\0a"
    return rng.choice([
        b"(" + part * count + b"t", b"](" + part * count + b"e",
        b"}(" + (key + part) * count + b"u", part + b"\x85" * count,
        part + b"2\x86" * count, part * count + b"0" * (count - 1),
        part + b"q\x06" + b"(" + b"h\x06" * count + b"t",
    ])  # fmt: skip


def _loop(rng):
    return b"(" + _copied(rng, 0) + b"t"


def _copied(rng, _):
    """A long list, of which a short loop makes many copies."""
    pair = rng.choice([b"(K\1K\2t", b"(X\1\0\0\0aNt", b"N"])
    entries = b"](" + pair + b"q\x09" + b"h\x09" * 10 ** rng.randrange(1, 5) + b"eq\x08"
    callee = b"c" + rng.choice(NAMES) + b"\nq\x0a"
    again = rng.choice([b"h\x0ah\x08\x85R0", b"h\x0ah\x08\x85\x810", b"h\x080", b"20"])
    return entries + callee + b"0" + again * 10 ** rng.randrange(1, 4)


_LEAVES = [_plain, _plain, _whole, _text, _array]
_BRANCHES = [_marked, _marked, _called, _called, _long, _copied]
_WRONG = [
    b".", b"(", b"t", b"e", b"s", b"R", b"b", b"0" * 9, b"h\xfe", b"Q", b"\x82\1",
    b"\x97", b"j\xff\xff\xff\xff", b"\x8d" + b"\xff" * 8, b"X\xff\xff\xff\x7f",
    b"cx\ny", b"\x94", b"\x93", b"o", b"p999999999999\n",
]  # fmt: skip


def _other_records(rng, data):
    """The archive again, compressed, with other records, names and sizes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if rng.random() < 0.03:
                content += b"\0" * rng.choice([1, 10_000, 3_000_000])
            name = entry.filename
            if rng.random() < 0.02:
                name = rng.choice(["/x", "../x", "archive/a", "a\\b", "data.pkl"])
            method = rng.choice([0, 0, 0, 8, 8, 8, 8, zipfile.ZIP_BZIP2])
            new.writestr(name, content, method)
        for i in range(rng.choice([0] * 20 + [1, 2000])):
            new.writestr(f"archive/data/more{i}", b"")
    data = bytearray(out.getvalue())
    if rng.random() < 0.5:
        # Fields of an entry of the directory: versions, flags, method, sizes, offset.
        starts = [found.start() for found in re.finditer(b"PK\1\2", data)]
        place = rng.choice(starts) + rng.randrange(4, 46)
        data[place : place + 4] = struct.pack(
            "<I", rng.choice([0, 1, 2**31, 2**32 - 1])
        )
    return bytes(data)


def _damaged(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 30])):
        kind, place = rng.randrange(4), rng.randrange(len(data))
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.randrange(8))
        else:
            del data[place : place + rng.choice([1, 4, 1000])]
        data = data or bytearray(b"P")
    return bytes(data)


def _memory_now():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _too_long(*_):
    raise TimeoutError(f"more than {SECONDS} seconds")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_memory_now() + MEMORY,) * 2)
    signal.signal(signal.SIGALRM, _too_long)
    what, place, *limits = sys.argv[1:]
    content = run(place, range(*map(int, limits))) if limits else read_folder(place)
    print(json.dumps(content))
