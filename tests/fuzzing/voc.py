"""Pascal VOC's XML files and lists, as `libra data convert DIR` reads them."""

import shutil
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import small_sets

from fuzzing.coco import convert
from fuzzing.mutate import NUMBERS, TEXTS, change_bytes


def _named(name):
    def change(content):
        content["xml"] = content["xml"].replace(b"dog", name)

    return change


FOUND = {
    "a list with zeros": lambda content: content.update(list=b"1\n\0\0003\n"),
    "a long line of a list": lambda content: content.update(
        list=b"1\n" + b"x y " * 2000
    ),
    "a long class": _named(b"9" * 5000),
}
_DECLARED = [
    b"<?xml version='1.0' encoding='%s'?>" % name
    for name in (b"utf-8", b"utf-16", b"gbk", b"big5", b"rot13", b"hex", b"idna",
                 b"utf-7", b"punycode", b"undefined", b"x" * 40)
]  # fmt: skip


class Voc:
    """A folder with three XML files, and a list; one file of them is changed."""

    lists_faults = True

    def __init__(self, folder):
        self.folder = Path(folder) / "set"
        small_sets.voc(self.folder)
        self.list = self.folder / "ImageSets" / "Main" / "train.txt"
        self.xml = self.folder / "Annotations" / "2.xml"
        self.good = self.xml.read_bytes()
        self.out = Path(folder) / "out"
        self.kept = [self.out]

    def fresh(self):
        """The XML file, and the list or None."""
        return {"xml": self.good, "list": None}

    def generate(self, rng):
        content = self.fresh()
        if rng.random() < 0.4:
            content["list"] = b"1\n2\n3\n"
        if content["list"] and rng.random() < 0.5:
            content["list"] = _changed_list(rng)
        else:
            content["xml"] = _changed_xml(rng, self.good)
        name = rng.choice(["xml", "list"])
        if content[name] and rng.random() < 0.25:
            content[name] = change_bytes(rng, content[name])
        return content

    def save(self, content):
        shutil.rmtree(self.folder / "ImageSets", ignore_errors=True)
        if content["list"] is not None:
            self.list.parent.mkdir(parents=True)
            self.list.write_bytes(content["list"])
        self.xml.write_bytes(content["xml"])

    def uses(self):
        shutil.rmtree(self.out, ignore_errors=True)
        yield lambda: convert(self.folder, "--split", "train", "--out", self.out)


def _changed_xml(rng, data):
    root = ElementTree.fromstring(data)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
        owners = [node for node in root.iter() if len(node)]
        owner = rng.choice(owners)
        child = rng.choice(list(owner))
        what = rng.randrange(6)
        if what == 0:
            owner.remove(child)
        elif what == 1:
            owner.append(child)
        elif what == 2:
            child.tag = rng.choice(["name", "object", "bndbox", "a", "size", "xmin"])
        else:
            child.text = escape(str(rng.choice(rng.choice([NUMBERS, TEXTS]))))
    if rng.random() < 0.05:
        root.tag = rng.choice(["a", "x" * 5000, "ä"])
    data = ElementTree.tostring(root, "unicode").encode("utf-8", "surrogatepass")
    head = rng.choice(_DECLARED) if rng.random() < 0.15 else b""
    if rng.random() < 0.05:
        head += b"<!DOCTYPE a [<!ENTITY b 'c'>]>"
    return head + data


def _changed_list(rng):
    lines = ["1", "2", "3"]
    for _ in range(rng.choice([0, 1, 2])):
        text = rng.choice([*TEXTS, "1 1", "2 -1", "3.jpg", '"1"', "JPEGImages/1.png"])
        lines.insert(rng.randrange(4), text)
        if rng.random() < 0.5:
            del lines[rng.randrange(len(lines))]
    encoding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig", "latin-1"])
    errors = "replace" if encoding == "latin-1" else "surrogatepass"
    return "\n".join(lines).encode(encoding, errors)
