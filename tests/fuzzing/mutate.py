"""Changes of values in a tree of lists and dicts, and of bytes."""

import copy
import math

DEEP = 30_000
NUMBERS = [
    0, 1, -1, 2, 3, 7, 0.5, -0.0, math.nan, math.inf, -math.inf, 1e308, 1e-320, 255,
    2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400,
]  # fmt: skip
TEXTS = [
    "", " ", "a", "0", "7", "-1", "1e999", "NaN", "true", "\n", "a\nb", "a\r\tb",
    "\x1b[2J", "\0", "a\0b", "\ud800", "\u202ea", "\u2028", "ä" * 300, "x" * 5000,
    "9" * 5000, "x y " * 1000, "../../a", "/etc/hostname", "1.png", "1.PNG", "2.jpg",
    "cat", "%0a", "{}", "a,b", "*", "~", "a/" * 3000, "C:\\1.png", "None",
]  # fmt: skip
OTHERS = [
    None, True, False, [], [[]], [None], [1, 2], [1, 2, 3, 4], [math.nan] * 4,
    ["a\nb"], [1] * 2000, [["x"] * 9] * 9, {}, {"a": 1}, {"": None}, {"a\nb": "c\nd"},
    {"id": 1}, {"x" * 999: {}}, {"count": 1, "first": ["a\nb"]},
]  # fmt: skip
PIECES = [
    b"", b"\0", b"\n", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1b[2J", b"{", b"}",
    b"[", b"]", b'"', b",", b":", b"-", b"'", b"NaN", b"9" * 5000, b"1e99999",
    b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"[" * DEEP, b'{"a":' * DEEP, b"\x80",
    b"!!int x", b"!!python/name:os.system", b"&a", b"*a", b"<", b"</", b"&x;", b"#",
]  # fmt: skip


def nasty(rng):
    """Returns a value that makes little sense where it is put."""
    return copy.deepcopy(rng.choice(rng.choice([NUMBERS, TEXTS, OTHERS])))


def change_tree(rng, tree, least=0):
    """Returns the tree with few values changed, removed, doubled or exchanged."""
    for _ in range(rng.choice([least, 1, 1, 1, 2, 4])):
        places = [((), None, None), *_places(tree)]
        # Any depth as likely as any other: most places are leaves.
        depth = rng.choice(sorted({len(path) for path, _, _ in places}))
        _, owner, key = rng.choice([p for p in places if len(p[0]) == depth])
        if owner is None:
            tree = nasty(rng) if rng.random() < 0.2 else tree
            if not isinstance(tree, list | dict):
                return tree
            continue
        _change(rng, owner, key, places)
    return tree


def _places(tree, path=()):
    """Yields the path, the owner and the key of each value below a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield (*path, key), tree, key
        if isinstance(value, list | dict) and len(path) < 8:
            yield from _places(value, (*path, key))


def _change(rng, owner, key, places):
    value, what = owner[key], rng.randrange(8)
    if what == 0:
        del owner[key]
    elif what == 1:
        other = rng.choice([0, 1, "a\nb", "x" * 400, "1", "id"])
        if isinstance(owner, list):
            owner.append(copy.deepcopy(value))
        else:
            owner[other] = copy.deepcopy(value)
    elif what == 2:
        _, there, name = rng.choice(places)
        owner[key] = copy.deepcopy(value if there is None else there[name])
    elif what == 3:
        owner[key] = _other_type(rng, value)
    else:
        owner[key] = nasty(rng)


def _other_type(rng, value):
    """Returns nearly the same."""
    if isinstance(value, int | float):
        near = float(value) if abs(value) < 2**53 else value - 1
        return rng.choice([-value, value + 1, str(value), near, [value]])
    if isinstance(value, str):
        return rng.choice([value + "\n", f" {value}", value.upper(), [value]])
    if isinstance(value, list):
        return rng.choice([value * 2, value[:-1], [value], dict(enumerate(value))])
    return rng.choice([[value], list(value) if value else {}, str(value)])


def change_bytes(rng, data, start=0):
    """Returns the data from `start` on cut, flipped, filled or doubled."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 3, 20])):
        place = rng.randrange(min(start, len(data)), len(data) + 1)
        what = rng.randrange(7)
        if what == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[place : place + 1] = bytes([rng.randrange(256)])
        elif what == 2:
            data[place:place] = rng.choice(PIECES)
        elif what == 3:
            del data[place : place + rng.choice([1, 1, 4, 50, 1000])]
        elif what == 4 and rng.random() < 0.3:
            del data[place:]
        elif what == 5:
            size = rng.choice([1, 10, 200])
            data[place:place] = data[place : place + size] * rng.choice([1, 2, 50])
        elif what == 6:
            size = rng.choice([1, 2, 4, 8])
            data[place : place + size] = (
                rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * size
            )
    return bytes(data)
