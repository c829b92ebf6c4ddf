"""XML in the encodings that people's programs declare, and nothing that expands."""

import pytest

from libra_tf.data.voc_xml import is_voc_xml, parse_xml
from libra_tf.errors import UserError

BOMB = '<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'


def write(tmp_path, text, encoding, declared=None):
    path = tmp_path / "a.xml"
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    path.write_bytes((head + text).encode(encoding))
    return path


@pytest.mark.parametrize(
    ("encoding", "declared", "word"),
    [
        ("utf-8", None, "猫ü"),
        ("utf-8-sig", "utf-8", "猫ü"),
        ("utf-16", None, "猫ü"),
        ("utf-16", "UTF-16", "猫ü"),
        ("utf-16-le", "utf-16", "猫ü"),
        ("utf-16-be", "utf-16", "猫ü"),
        ("utf-32", "utf-32", "猫ü"),
        ("utf-8", "utf-16", "猫ü"),
        ("gb2312", "gb2312", "猫"),
        ("gbk", "GB2312", "貓"),
        ("gb18030", "gb18030", "猫ü"),
        ("shift_jis", "Shift_JIS", "猫"),
        ("cp932", "shift_jis", "①"),
        ("euc-jp", "euc-jp", "猫"),
        ("euc-kr", "euc-kr", "고양이"),
        ("big5", "big5", "貓"),
        ("latin-1", "ISO-8859-1", "ü"),
        ("cp1252", "windows-1252", "€"),
    ],
)
def test_declared_encodings(tmp_path, encoding, declared, word):
    text = f"<annotation><name>{word}</name></annotation>"
    path = write(tmp_path, text, encoding, declared)
    assert is_voc_xml(path)
    assert parse_xml(path).findtext("name") == word


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-7", "gbk"])
def test_entities_are_refused_in_every_encoding(tmp_path, encoding):
    path = write(tmp_path, BOMB, encoding, encoding)
    with pytest.raises(UserError, match=r"a\.xml"):
        parse_xml(path)
    if encoding != "utf-7":  # Its letters are not ASCII: the declaration is not seen.
        with pytest.raises(UserError, match="DOCTYPE"):
            parse_xml(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<annotation>ü</annotation>".encode("latin-1"), "is not utf-8"),
        (b'<?xml version="1.0" encoding="no-such"?><annotation/>', "is not no-such"),
        (b'<?xml version="1.0" encoding="rot13"?><annotation/>', "is not rot13"),
        (b"<annotation>\0</annotation>", "holds zeros"),
        (b"", "not valid XML"),
        (b"<annotations/>", "<annotations>, not Pascal VOC's <annotation>"),
    ],
)
def test_other_files_are_one_line(tmp_path, content, words):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        parse_xml(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
