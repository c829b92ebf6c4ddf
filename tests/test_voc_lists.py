"""Lists of Pascal VOC: names with blanks, marks and endings."""

import unicodedata

import pytest

from libra_tf.data.voc_lists import listed_files
from libra_tf.errors import UserError

NFD = unicodedata.normalize("NFD", "Zürich")


@pytest.fixture
def listed(tmp_path):
    """Returns the names that a list's bytes give, of the files there are."""

    def read(content, *stems):
        files = [tmp_path / "xml" / f"{stem}.xml" for stem in stems]
        path = tmp_path / "train.txt"
        path.write_bytes(content)
        found = listed_files(path, tmp_path / "xml", files)
        return [file.relative_to(tmp_path / "xml").as_posix()[:-4] for file in found]

    return read


@pytest.mark.parametrize(
    ("line", "stem"),
    [
        ("my img 1", "my img 1"),
        ("my img 1 -1", "my img 1"),
        ("my img  1", "my img"),
        ("c  1", "c"),
        ("a -1", "a"),
        ("a\t0", "a"),
        ("a.jpg", "a"),
        ("a.JPG 1", "a"),
        ("a.xml", "a"),
        ("a.v2", "a.v2"),
        ('"my img" 1', "my img"),
        ("'my img'", "my img"),
        ("sub/a", "sub/a"),
        ("sub\\a.jpg", "sub/a"),
        ("Zürich", NFD),
    ],
)
def test_a_line_is_a_name_then_a_name_with_a_mark(listed, line, stem):
    assert listed(f"{line}\n".encode(), stem, "other") == [stem]


def test_the_whole_line_goes_before_its_beginning(listed):
    assert listed(b"my img 1\nmy img\n", "my img", "my img 1") == ["my img 1", "my img"]


@pytest.mark.parametrize(
    "content",
    [
        b"b\r\n\r\na\r\n",
        b"\xef\xbb\xbfb\na\n",
        "b\na".encode("utf-16"),
        b"\n \n b \na  \n\n",
        b"b\ra\r",
    ],
)
def test_line_ends_marks_and_blank_lines(listed, content):
    assert listed(content, "a", "b") == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nno\n", r"train\.txt: no no\.xml in .*xml for the line 'no'"),
        (b"a\na.jpg 1\n", "names an image twice: 'a' and 'a.jpg 1'"),
        (b"../xml/a\n", "is a path"),
        (b"/home/a\n", "is a path"),
        (b"C:\\a\n", "is a path"),
        (b"\n \n", "has no images"),
        (b"\xff\n", "is not UTF-8"),
    ],
)
def test_faults_of_lists(listed, content, words):
    with pytest.raises(UserError, match=words):
        listed(content, "a")
