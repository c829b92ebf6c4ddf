"""Which file a name means: never a guess between two, never outside the folder."""

import unicodedata

import pytest

from libra_tf.data.image_names import match_name, settle_names
from libra_tf.data.images import find_image
from libra_tf.data.records import Category, Dataset, ImageRecord
from libra_tf.errors import UserError

NFC, NFD = (unicodedata.normalize(form, "Zürich.jpg") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path):
    """Makes files in `images`, and one beside it."""

    def make(*names):
        for name in names:
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / "secret.jpg").touch()
        return tmp_path / "images"

    return make


@pytest.mark.parametrize(
    ("name", "file", "rule"),
    [
        ("a.jpg", "a.jpg", None),
        ("a%20b.jpg", "a%20b.jpg", None),
        ("x\\a.jpg", "x/a.jpg", "names_spelling"),
        (".\\x\\a.jpg", "x/a.jpg", "names_spelling"),
        ("a%20b%C3%A9.jpg", "a bé.jpg", "names_spelling"),
        (NFC, NFD, "names_spelling"),
        (NFD, NFC, "names_spelling"),
        ("a.jpg", "a.JPG", "names_spelling"),
        ("a.JPEG", "a.Jpeg", "names_spelling"),
        ("IMG_1.jpg", "img_1.jpg", "names_spelling"),
        ("a.jpg", "a.jpeg", "names_ending"),
        ("a.png", "a.JPG", "names_ending"),
        ("a.v2", "a.v2.jpg", "names_ending"),
        ("/home/x/images/a.jpg", "a.jpg", "names_tail"),
        ("C:\\Users\\x\\a.jpg", "a.jpg", "names_tail"),
        ("images/train/a.jpg", "a.jpg", "names_tail"),
        ("images/train/a.jpg", "train/a.jpg", "names_tail"),
        ("../../media/upload/1/a.jpg", "a.jpg", "names_tail"),
        ("/data/local-files/?d=set%5Ca.jpg", "a.jpg", "names_tail"),
        ("a.jpg", "deep/er/a.jpg", "names_tail"),
        ("file:///x/a%20b.jpg", "a b.jpg", "names_tail"),
    ],
)
def test_other_spellings_of_a_file(folder, name, file, rule):
    images = folder(file, "other.jpg")
    match = match_name(images, name)
    assert (match.name, match.rule) == (file, rule)
    assert find_image(images, name) == images / file


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("a.jpg", ["a.png", "a.jpeg"]),
        ("a.jpg", ["x/a.jpg", "y/a.jpg"]),
        ("/home/x/a.jpg", ["a.jpg", "y/a.jpg"]),
        ("a.jpg", ["a.JPG", "a.Jpg"]),
    ],
)
def test_two_files_that_can_be_meant_are_both_named(folder, name, files):
    with pytest.raises(UserError) as error:
        match_name(folder(*files), name)
    assert all(file in str(error.value) for file in files)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("../secret.jpg", ["a.jpg"]),
        ("secret.jpg", ["a.jpg"]),
        ("train/1.jpg", ["train/2.jpg", "val/1.jpg"]),
        ("/home/x/train/1.jpg", ["train/2.jpg", "val/1.jpg", "1.jpg"]),
        ("1.jpg", ["masks/1.png"]),
        ("1.jpg", [".1.jpg", "._1.jpg", ".hidden/1.jpg", "__MACOSX/1.jpg"]),
        ("1.jpg", ["1.xml", "11.jpg"]),
        ("a\0.jpg", ["a.jpg"]),
    ],
)
def test_no_file_is_guessed(folder, name, files):
    images = folder(*files)
    assert match_name(images, name) is None
    with pytest.raises(UserError):
        find_image(images, name)


def test_another_split_is_another_folder(folder):
    images = folder("val/1.jpg") / "val"
    assert match_name(images, "train/1.jpg") is None
    assert match_name(images, "../../train/1.jpg") is None
    assert match_name(images, "images/valid/1.jpg").name == "1.jpg"


def test_a_file_that_is_there_is_no_other(folder):
    images = folder("secret.jpg", "a.jpg")
    outside = images.parent / "secret.jpg"
    for name in (str(outside), "../secret.jpg"):
        with pytest.raises(UserError, match="inside the image folder"):
            find_image(images, name)
    assert match_name(images, str(images / "a.jpg")).name == "a.jpg"


def dataset(*names):
    images = [ImageRecord(i, name, 4, 4) for i, name in enumerate(names, start=1)]
    return Dataset("set.json", (Category(1, "x"),), tuple(images))


def test_names_are_settled_and_counted(folder):
    images = folder("a.jpg", "b.JPG", "c.png")
    settled = settle_names(dataset("a.jpg", "b.jpg", "x/c.png", "no.jpg"), images)
    names = [image.file_name for image in settled.images]
    assert names == ["a.jpg", "b.JPG", "c.png", "no.jpg"]
    assert settled.findings.as_dict() == {
        "names_spelling": {"count": 1, "first": ["b.jpg"]},
        "names_tail": {"count": 1, "first": ["x/c.png"]},
    }
    again = settle_names(settled, images)
    assert again.findings.as_dict() == settled.findings.as_dict()


def test_one_file_for_two_paths_is_refused(folder):
    settled = settle_names(dataset("x/a.jpg", "y/a.jpg"), folder("a.jpg"))
    (fault,) = settled.faults
    assert "image 1 (x/a.jpg) and image 2 (y/a.jpg)" in fault.text
    assert (fault.image, len(settled.images)) == (2, 1)


def test_a_file_that_is_made_later_is_found(folder):
    images = folder("b.jpg")
    assert match_name(images, "a.jpg") is None
    folder("a.JPG")
    assert match_name(images, "a.jpg").name == "a.JPG"
