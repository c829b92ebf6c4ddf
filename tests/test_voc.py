"""Pascal VOC reader."""

import re

import pytest
from PIL import Image

from libra_tf.data.clean import clean_dataset
from libra_tf.data.pictures import fill_sizes
from libra_tf.data.voc import read_voc
from libra_tf.errors import UserError

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>
<ymax>2</ymax></bndbox></part>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>
<ymax>{box[3]}</ymax></bndbox></object>"""
SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def annotation(*objects, size=SIZE, filename="{stem}.jpg"):
    rows = [OBJECT.format(name=n, box=b, difficult=d) for n, b, d in objects]
    name = f"<filename>{filename}</filename>"
    return f"<annotation>{name}{size}{''.join(rows)}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """Writes a folder from {stem: xml}; returns it."""

    def make(files, splits=None):
        (tmp_path / "JPEGImages").mkdir()
        (tmp_path / "Annotations").mkdir()
        for stem, xml in files.items():
            Image.new("RGB", (40, 30)).save(tmp_path / "JPEGImages" / f"{stem}.jpg")
            text = xml.replace("{stem}", stem)
            (tmp_path / "Annotations" / f"{stem}.xml").write_text(text)
        for split, stems in (splits or {}).items():
            path = tmp_path / "ImageSets" / "Main" / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{stem}\n" for stem in stems))
        return tmp_path

    return make


def test_boxes_count_from_zero_and_classes_are_sorted(voc):
    folder = voc(
        {
            "b": annotation(("dog", (1, 1, 40, 30), 0)),
            "a": annotation(("cat", (5, 6, 14, 25), 0), ("dog", (2, 2, 2, 2), 0)),
        }
    )
    dataset = read_voc(folder, "train")
    assert [(c.id, c.name) for c in dataset.categories] == [(1, "cat"), (2, "dog")]
    first, second = dataset.images
    assert (first.id, first.file_name, first.width, first.height) == (
        1,
        "a.jpg",
        40,
        30,
    )
    assert [a.bbox for a in first.annotations] == [(4, 5, 10, 20), (1, 1, 1, 1)]
    assert [a.category_id for a in first.annotations] == [1, 2]
    assert second.annotations[0].bbox == (0, 0, 40, 30)  # The whole image.
    assert [a.id for i in dataset.images for a in i.annotations] == [1, 2, 3]


def test_split_file_chooses_and_orders(voc):
    xml = annotation(("dog", (1, 1, 9, 9), 0))
    folder = voc(
        {"a": xml, "b": xml, "c": xml}, {"train": ["c  1", "a -1"], "val": ["b"]}
    )
    assert [i.file_name for i in read_voc(folder, "train").images] == ["c.jpg", "a.jpg"]
    with pytest.raises(UserError, match=r"test\.txt: no such split.*train, val"):
        read_voc(folder, "test")


@pytest.mark.parametrize(
    ("difficult", "crowds"), [("crowd", [True, False]), ("keep", [False] * 2)]
)
def test_difficult_objects(voc, difficult, crowds):
    folder = voc({"a": annotation(("x", (1, 1, 9, 9), 1), ("x", (1, 1, 5, 5), 0))})
    objects = read_voc(folder, "train", difficult=difficult).images[0].annotations
    assert [o.iscrowd for o in objects] == crowds


def test_difficult_objects_can_be_dropped(voc):
    folder = voc({"a": annotation(("x", (1, 1, 9, 9), 1), ("x", (1, 1, 5, 5), 0))})
    (kept,) = read_voc(folder, "train", difficult="drop").images[0].annotations
    assert kept.bbox == (0, 0, 5, 5)


def test_given_classes_set_the_ids_and_must_be_complete(voc):
    folder = voc({"a": annotation(("dog", (1, 1, 9, 9), 0))})
    dataset = read_voc(folder, "train", classes=["zebra", "dog"])
    assert dataset.images[0].annotations[0].category_id == 2
    (fault,) = read_voc(folder, "train", classes=["zebra"]).faults
    assert re.search(r"a\.xml: class 'dog'.*--classes", fault.text)


def test_size_comes_from_the_file_where_the_xml_is_silent(voc):
    folder = voc({"a": annotation(("x", (1, 1, 9, 9), 0), size="")})
    dataset = fill_sizes(read_voc(folder, "train"), folder / "JPEGImages")
    (image,) = dataset.images
    assert (image.width, image.height) == (40, 30)
    assert dataset.findings["sizes_read"].first == ["a.jpg"]


def test_wrong_filename_falls_back_to_the_annotation_name(voc):
    xml = annotation(("x", (1, 1, 9, 9), 0), filename="C:\\photos\\other.jpg")
    assert read_voc(voc({"a": xml}), "train").images[0].file_name == "a.jpg"


BOMB = '<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (BOMB, "DOCTYPE"),
        ("<annotation>", "not valid XML"),
        ("\0<annotation/>", "not UTF-8"),
        (annotation(("", (1, 1, 9, 9), 0)), "object 1: name"),
        (annotation(("x", ("nan", 1, 9, 9), 0)), "bndbox/xmin 'nan'"),
        (annotation(("x", (1, 1, 9, "a"), 0)), "bndbox/ymax 'a'"),
        ("<annotation><object><name>x</name></object></annotation>", "bndbox/xmin"),
    ],
)
def test_broken_xml_is_named(voc, xml, words):
    with pytest.raises(UserError, match=r"a\.xml") as error:
        read_voc(voc({"a": xml}), "train")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_entities_hidden_in_utf16_are_refused(voc):
    folder = voc({"a": ""})
    (folder / "Annotations" / "a.xml").write_bytes(BOMB.encode("utf-16"))
    with pytest.raises(UserError, match="DOCTYPE"):
        read_voc(folder, "train")


def test_image_outside_of_the_folder_is_refused(voc, tmp_path):
    xml = annotation(("x", (1, 1, 9, 9), 0), size="", filename="../secret.jpg")
    folder = voc({"a": xml})
    (folder / "JPEGImages" / "a.jpg").rename(folder / "secret.jpg")
    with pytest.raises(UserError, match=r"a\.xml.*secret\.jpg is not in"):
        read_voc(folder, "train")


def test_the_picture_of_the_own_name_wins(voc):
    xml = annotation(("x", (1, 1, 9, 9), 0), filename="a.jpg")
    dataset = read_voc(voc({"a": xml, "b": xml}), "train")
    assert [image.file_name for image in dataset.images] == ["a.jpg", "b.jpg"]
    assert dataset.findings["stale_names"].first == ["b.xml"]


def test_findings_name_file_and_object(voc):
    xml = annotation(("x", (1, 1, 9, 9), 0), ("x", (30, 9, 44, 20), 0))
    findings = clean_dataset(read_voc(voc({"a": xml}), "train"), False).findings
    assert findings["clipped"].first == ["a.xml object 2"]


def test_the_named_picture_serves_where_there_is_no_other(voc):
    xml = annotation(("x", (1, 1, 9, 9), 0), filename="photo.jpg")
    folder = voc({"a": xml})
    (folder / "JPEGImages" / "a.jpg").rename(folder / "JPEGImages" / "photo.jpg")
    dataset = read_voc(folder, "train")
    assert dataset.images[0].file_name == "photo.jpg"
    assert dataset.findings.as_dict() == {}


def test_the_named_ending_counts_among_pictures_of_one_name(voc):
    xml = annotation(("x", (1, 1, 9, 9), 0), filename="a.png")
    folder = voc({"a": xml})
    Image.new("RGB", (40, 30)).save(folder / "JPEGImages" / "a.png")
    assert read_voc(folder, "train").images[0].file_name == "a.png"


@pytest.mark.parametrize("size", ["-1", "0", "", "x"])
def test_a_size_that_is_none_is_untold(voc, size):
    text = f"<size><width>{size}</width><height>30</height></size>"
    folder = voc({"a": annotation(("x", (1, 1, 9, 9), 0), size=text)})
    assert read_voc(folder, "train").images[0].width == 0


@pytest.mark.parametrize(
    ("text", "crowd"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_spellings_of_difficult(voc, text, crowd):
    folder = voc({"a": annotation(("x", (1, 1, 9, 9), text))})
    assert read_voc(folder, "train").images[0].annotations[0].iscrowd is crowd


def test_a_faulty_file_leaves_the_others(voc):
    xml = annotation(("x", (1, 1, 9, 9), 0))
    odd = annotation(("x", (1, 1, 9, 9), "maybe"))
    dataset = read_voc(voc({"a": xml, "b": odd, "c": "<", "d": xml}), "train")
    assert [image.id for image in dataset.images] == [1, 4]
    assert [fault.image for fault in dataset.faults] == [2, 3]
    assert re.search(r"b\.xml: object 1: difficult 'maybe'", dataset.faults[0].text)
    assert [a.id for i in dataset.images for a in i.annotations] == [1, 2]


def test_split_file_with_a_path_is_refused(voc):
    folder = voc({"a": annotation()}, {"train": ["../Annotations/a"]})
    with pytest.raises(UserError, match="is a path"):
        read_voc(folder, "train")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="not a Pascal VOC folder"):
        read_voc(tmp_path, "train")


def test_missing_image_is_named(voc):
    folder = voc({"a": annotation(("x", (1, 1, 9, 9), 0))})
    (folder / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"a\.xml: its image a\.jpg"):
        read_voc(folder, "train")
