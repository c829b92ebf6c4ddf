"""Lists of Pascal VOC (`ImageSets/Main/SPLIT.txt`), and the XML files that they name.

Names may hold blanks, so a line is a name as it stands, and only then a name with VOC's
-1, 0 or 1 after it; it may be quoted, as CVAT writes it, and end as the picture does.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from libra_tf.data.image_names import has_image_suffix, nfc
from libra_tf.errors import UserError

_LABEL = re.compile(r"\s+[+-]?[01]$")


def read_list(file: Path) -> list[str]:
    """Returns the lines of a list that are not blank.

    Raises:
        UserError: no text, no lines, or a line twice.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeError as error:
        raise UserError(f"{file}: is not UTF-8 ({error}); save it as UTF-8") from error
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    names = [line for line in lines if line]
    if not names:
        raise UserError(f"{file}: the list has no images; mend or remove it")
    return names


def listed_files(file: Path, annotation_dir: Path, xml: list[Path]) -> list[Path]:
    """Returns the XML files of a list, in its order.

    Args:
        file: the list.
        annotation_dir: the folder that its names start from.
        xml: the files below that folder.

    Raises:
        UserError: names the list, and a line without a file or that comes again.
    """
    known = {_key(path, annotation_dir): path for path in xml}
    found: dict[Path, str] = {}
    for line in read_list(file):
        names = list(_readings(line, file))
        path = next((known[nfc(n)] for n in names if nfc(n) in known), None)
        if path is None:
            raise UserError(
                f"{file}: no {names[0]}.xml in {annotation_dir} for the line {line!r}; "
                "add it (without objects if there are none) or remove the line"
            )
        if path in found:
            raise UserError(
                f"{file}: names an image twice: {found[path]!r} and {line!r}; remove "
                "one of them"
            )
        found[path] = line
    return list(found)


def _key(path: Path, annotation_dir: Path) -> str:
    return nfc(path.relative_to(annotation_dir).with_suffix("").as_posix())


def _readings(line: str, file: Path) -> Iterator[str]:
    """Yields what a line can mean, the likeliest first."""
    quoted = re.match(r'"([^"]+)"|\'([^\']+)\'', line)
    texts = [line, _LABEL.sub("", line)]
    texts += [quoted[1] or quoted[2]] if quoted else []
    for text in dict.fromkeys(texts):
        name = text.replace("\\", "/").removeprefix("./")
        if name.startswith("/") or ".." in name.split("/") or re.match(r"\w:", name):
            raise UserError(
                f"{file}: {line!r} is a path out of the folder; write a name"
            )
        yield name
        if has_image_suffix(name) or name.lower().endswith(".xml"):
            yield name.rpartition(".")[0]
