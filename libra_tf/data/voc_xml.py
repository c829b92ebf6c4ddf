"""Parses an XML file of annotations in whatever encoding it declares, without entities.

The parser of Python knows few encodings of several bytes a letter, so the text is
decoded here, and looked through for declarations before the parser sees it.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.etree import ElementTree

from libra_tf.errors import UserError

MAX_XML_BYTES = 16 << 20
ROOT = "annotation"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    ("<?".encode("utf-16-le"), "utf-16-le"),
    ("<?".encode("utf-16-be"), "utf-16-be"),
)
# What programs write under these names, which mean less.
_WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "euc-kr": "cp949",
}
_DECLARED = re.compile(rb"""<\?xml[^>]{,99}?encoding\s*=\s*["']([\w.:-]{1,40})["']""")
_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


def parse_xml(file: Path) -> ElementTree.Element:
    """Returns the root element, `<annotation>`.

    Raises:
        UserError: names the file and what is wrong with it.
    """
    text = _decode(_read(file), file)
    # Entities can be made to expand without end.
    if "<!doctype" in text.lower():
        raise UserError(f"{file}: declares a DOCTYPE; remove the declaration")
    try:
        root = ElementTree.fromstring(_DECLARATION.sub("", text, count=1))
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{file}: not valid XML: {error}") from error
    if root.tag != ROOT:
        raise UserError(
            f"{file}: its outermost element is <{root.tag}>, not Pascal VOC's "
            f"<{ROOT}>; export as Pascal VOC or COCO, or remove the file"
        )
    return root


def is_voc_xml(file: Path) -> bool:
    """Whether a file begins as Pascal VOC's do; it may be broken further on."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(2048)
    except OSError:
        return False
    return bool(re.search(rb"<annotation[\s>/]", head.replace(b"\0", b"")))


def _read(file: Path) -> bytes:
    try:
        if file.exists() and not file.is_file():
            raise UserError(f"{file}: is not a regular file; remove it")
        with open(file, "rb") as stream:
            content = stream.read(MAX_XML_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_XML_BYTES:
        raise UserError(f"{file}: larger than {MAX_XML_BYTES} bytes; mend it")
    return content


def _decode(content: bytes, file: Path) -> str:
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except (LookupError, UnicodeError) as error:
        raise UserError(
            f"{file}: is not {encoding}, which it should be ({error}); declare its "
            "encoding in the first line or save it as UTF-8"
        ) from error
    if "\0" in text:
        raise UserError(f"{file}: is not UTF-8: it holds zeros; save it as UTF-8")
    return text


def _encoding(content: bytes) -> str:
    marked = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if marked:
        return marked
    declared = _DECLARED.match(content.lstrip())
    name = declared[1].decode("ascii") if declared else "utf-8"
    # What is read letter by letter cannot be in two bytes a letter.
    if re.match(r"utf-?(16|32)|ucs", name, re.IGNORECASE):
        return "utf-8"
    return _WIDER.get(name.lower(), name)
