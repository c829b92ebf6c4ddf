"""Every row of the rule book: such an input, and the line that is said about it."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import small_sets
from PIL import Image

from libra_tf.commands.main import main
from libra_tf.data.faults import REFUSED
from libra_tf.data.rules import RULES

SCRIPT = Path(__file__).parents[1] / "scripts" / "rule_book.py"


def first_box(*box, **fields):
    return lambda content, _: content["annotations"][0].update(bbox=[*box], **fields)


def first(kind, **fields):
    return lambda content, _: content[kind][0].update(**fields)


def mask(*polygons):
    def spoil(content, _):
        for annotation in content["annotations"]:
            x, y, width, height = annotation["bbox"]
            right, bottom = x + width, y + height
            box = [x, y, right, y, right, bottom, x, bottom]
            annotation["segmentation"] = [box]
        content["annotations"][0]["segmentation"] = [*polygons]

    return spoil


def zero_unused(content, _):
    content["categories"].append({"id": 0, "name": "animals"})


def zero_used(content, _):
    content["categories"][0]["id"] = 0
    for annotation in content["annotations"]:
        if annotation["category_id"] == 1:
            annotation["category_id"] = 0


def text_category(content, _):
    content["categories"][0]["id"] = "c"
    for annotation in content["annotations"]:
        if annotation["category_id"] == 1:
            annotation["category_id"] = "c"


def unnumbered(content, _):
    del content["annotations"][0]["id"]


def repeated(content, _):
    content["annotations"].append(dict(content["annotations"][0]))


def equal_boxes(content, _):
    content["annotations"].append({**content["annotations"][0], "id": 99})


def one_picture(content, _):
    content["images"][1]["file_name"] = "./1.png"


def equal_pictures(_, folder):
    shutil.copy(folder / "1.png", folder / "2.png")


def normalized(content, _):
    for annotation in content["annotations"][:2]:
        annotation |= {"bbox": [0.1, 0.2, 0.5, 0.3], "area": 0.15}
    content["annotations"][1]["bbox"] = [0.3, 0.4, 0.2, 0.3]


def all_normalized(content, _):
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x / 40, y / 30, width / 40, height / 30]


def corners(content, _):
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]


def all_boxes(box):
    def spoil(content, _):
        for number, annotation in enumerate(content["annotations"]):
            annotation["bbox"] = box(number)
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]

    return spoil


def one_example(content, _):
    for annotation in content["annotations"][:-1]:
        annotation["category_id"] = 1


def no_example(content, _):
    content["categories"].append({"id": 3, "name": "bird"})


def stale(_, folder):
    path = folder / "Annotations" / "2.xml"
    path.write_text(path.read_text().replace("2.png", "1.png"))


def alike_classes(content, _):
    content["categories"][1]["name"] = "Cat"


def class_blanks(content, _):
    content["categories"][1]["name"] = "dog "


def second_box(_, folder):
    path = folder / "Annotations" / "2.xml"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    path.write_text(path.read_text().replace("</object>", f"{box}</object>", 1))


def voc_class(name):
    def spoil(_, folder):
        path = folder / "Annotations" / "2.xml"
        text = path.read_text().replace("<name>dog</name>", f"<name>{name}</name>")
        path.write_text(text)

    return spoil


SPOILED = {
    "clipped": first_box(35, 2, 10, 8, area=80),
    "dropped": first_box(5, 5, 0, 8, area=0),
    "box_masks": mask(),
    "zero_dropped": zero_unused,
    "zero_moved": zero_used,
    "mapped_ids": text_category,
    "texts": first_box("1", 2, 10, 8),
    "unnumbered": unnumbered,
    "renumbered": first("annotations", id=2),
    "repeated": repeated,
    "sizes_read": first("images", width=None),
    "no_objects": lambda content, _: content["annotations"].clear(),
    "flat_parts": mask([1, 2, 11, 2, 11, 10], [1, 2, 3, 4]),
    "areas": first("annotations", area=5000),
    "one_picture": one_picture,
    "equal_pictures": equal_pictures,
    "equal_boxes": equal_boxes,
    "normalized": normalized,
    "corners": corners,
    "one_size": all_boxes(lambda n: [5 * n, 3 * n, 9, 9]),
    "whole_pictures": all_boxes(lambda n: [0, 0, 40, 30 - n / 100]),
    "one_corner": all_boxes(lambda n: [n, n, 3 + n, 4 + n]),
    "one_example": one_example,
    "alike_classes": alike_classes,
    "class_blanks": class_blanks,
    "no_example": no_example,
}
# Those that are not made by spoiling one COCO file, and who tries them.
OTHERS = {
    "skipped": "rule_book",
    "stale_names": "rule_book",
    "second_box": "rule_book",
    "difficult_dropped": "rule_book",
    "orphans": "skip_bad",
    "splits_left": "layout",
    "shared_pictures": "rule_book",
    "turned": "turned_pictures",
    "stored": "turned_pictures",
    "depths": "depth",
    "names_spelling": "image_names",
    "names_ending": "image_names",
    "names_tail": "image_names",
    "classes_by_name": "class_list",
    "classes_added": "class_list",
    "files_hidden": "exporters",
    "pictures_left": "exporters",
    "lists_left": "exporters",
    "unlabelled": "yolo",
    "keypoints_left": "yolo",
}


def convert(capsys, *words):
    """Returns exit code and stderr."""
    capsys.readouterr()
    code = main(["data", "convert", *map(str, words), "--workers", "1"])
    return code, capsys.readouterr().err


def convert_coco(capsys, folder, spoil, *words):
    content = small_sets.coco(folder)
    spoil(content, folder)
    path = small_sets.write(folder, content)
    source = ["--images", folder, "--annotations", path, "--split", "train"]
    return convert(capsys, *source, "--out", folder / "out", *words)


def convert_voc(capsys, folder, spoil, *words):
    spoil(None, small_sets.voc(folder))
    source = ["--voc", folder, "--split", "train", "--out", folder / "out"]
    return convert(capsys, *source, *words)


def check_rule(rule, code, err, strict):
    assert small_sets.is_said(rule, err), err
    assert code == (2 if strict and RULES[rule].strict else 0)


@pytest.mark.parametrize("strict", [False, True])
def test_nothing_is_said_of_a_good_data_set(tmp_path, capsys, strict):
    words = ["--strict"] if strict else []
    code, err = convert_coco(capsys, tmp_path, lambda *_: None, *words)
    assert (code, len(err.splitlines())) == (0, 1), err


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("rule", SPOILED)
def test_what_is_found_is_said(tmp_path, capsys, rule, strict):
    words = ["--strict"] if strict else []
    code, err = convert_coco(capsys, tmp_path, SPOILED[rule], *words)
    check_rule(rule, code, err, strict)


@pytest.mark.parametrize("strict", [False, True])
def test_a_stale_file_name_is_said(tmp_path, capsys, strict):
    words = ["--strict"] if strict else []
    code, err = convert_voc(capsys, tmp_path, stale, *words)
    check_rule("stale_names", code, err, strict)
    assert "(files 2.xml)" in err


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("second_box", second_box),
        ("alike_classes", voc_class("Dog")),
        ("class_blanks", voc_class(" dog ")),
    ],
)
def test_objects_of_voc_are_said(tmp_path, capsys, rule, spoil, strict):
    words = ["--strict"] if strict else []
    code, err = convert_voc(capsys, tmp_path, spoil, *words)
    check_rule(rule, code, err, strict)


def test_difficult_objects_that_are_dropped_are_said(tmp_path, capsys):
    def spoil(_, folder):
        path = folder / "Annotations" / "1.xml"
        mark = "<difficult>1</difficult></object>"
        path.write_text(path.read_text().replace("</object>", mark))

    code, err = convert_voc(capsys, tmp_path, spoil, "--difficult", "drop")
    check_rule("difficult_dropped", code, err, strict=True)
    assert "2 objects were marked difficult" in err
    assert "(objects 1.xml object 1, 1.xml object 2)" in err


@pytest.mark.parametrize("strict", [False, True])
def test_pictures_of_two_splits_are_said(tmp_path, capsys, strict):
    """Whether the other split was converted with this one or before."""
    words = ["--strict"] if strict else []
    assert convert_coco(capsys, tmp_path, lambda *_: None)[0] == 0
    other = tmp_path / "other"
    content = small_sets.coco(other, seed=1)
    shutil.copy(tmp_path / "2.png", other / "3.png")
    path = small_sets.write(other, content)
    source = ["--images", other, "--annotations", path, "--split", "val"]
    code, err = convert(capsys, *source, "--out", tmp_path / "out", *words)
    check_rule("shared_pictures", code, err, strict)
    assert "1 picture is in another split too (images 3.png (train: 2.png))" in err


@pytest.mark.parametrize("strict", [False, True])
def test_skipped_pictures_are_said(tmp_path, capsys, strict):
    words = ["--strict"] if strict else []
    spoil = first("annotations", bbox=None)
    code, err = convert_coco(capsys, tmp_path, spoil, "--skip-bad=0.5", *words)
    check_rule("skipped", code, err, strict)


def test_every_rule_is_tried():
    assert SPOILED.keys() | OTHERS.keys() == RULES.keys()
    for rule, name in OTHERS.items():
        text = (Path(__file__).parent / f"test_{name}.py").read_text(encoding="utf-8")
        assert f'"{rule}"' in text or small_sets.is_said(rule, text), rule


def remove(_, folder):
    (folder / "2.png").unlink()


def cut(_, folder):
    data = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(data[: len(data) // 2])


def frames(content, folder):
    pictures = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    pictures[0].save(folder / "2.gif", save_all=True, append_images=pictures[1:])
    content["images"][1]["file_name"] = "2.gif"


def broken_xml(_, folder):
    (folder / "Annotations" / "2.xml").write_text("<annotation>")


def nameless(_, folder):
    path = folder / "Annotations" / "2.xml"
    path.write_text(path.read_text().replace("<name>dog</name>", "<name> </name>"))


def outside(content, folder):
    shutil.copy(folder / "1.png", folder.parent / "outside.png")
    content["images"][0]["file_name"] = "../outside.png"


def turned(content, folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.open(folder / "1.png")
    picture.save(folder / "1.png", exif=exif)


BAD = {
    "missing_picture": remove,
    "broken_picture": cut,
    "other_size": first("images", width=41),
    "exif": turned,
    "frames": frames,
    "outside": outside,
    "image_twice": first("images", id=2),
    "no_image": first("annotations", image_id=9),
    "no_category": first("annotations", category_id=9),
    "bad_box": first("annotations", bbox=[1, 2, 3]),
    "bad_mask": first("annotations", segmentation=[[1, 2, 3]]),
    "bad_value": first("annotations", iscrowd="maybe"),
    "all_normalized": all_normalized,
}
BAD_VOC = {"no_name": nameless, "bad_xml": broken_xml}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_used_is_refused(tmp_path, capsys, kind):
    code, err = convert_coco(capsys, tmp_path, BAD[kind])
    check_refusal(kind, code, err, tmp_path)


@pytest.mark.parametrize("kind", BAD_VOC)
def test_what_cannot_be_used_of_voc_is_refused(tmp_path, capsys, kind):
    code, err = convert_voc(capsys, tmp_path, BAD_VOC[kind])
    check_refusal(kind, code, err, tmp_path)


def text_of(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


HOSTILE = {
    "half a surrogate pair": (first("images", file_name="a\ud800.png"), "no file can"),
    "a byte that is no text": (first("images", file_name="a\udce9.png"), "be read"),
    "a name of 6,000 letters": (first("images", file_name="a" * 6000), "be read"),
    "a side of 5,000 digits": (first("images", width="9" * 5000), "whole number"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_are_one_short_line(tmp_path, capsys, kind):
    spoil, text = HOSTILE[kind]
    code, err = convert_coco(capsys, tmp_path, spoil)
    line = err.splitlines()[-1]
    assert code == 2
    assert "image 1" in line
    assert text in line
    assert len(line) < 1000


def test_a_number_of_5000_digits_is_no_json(tmp_path, capsys):
    content = small_sets.coco(tmp_path)
    content["images"][0]["width"] = 123456
    path = small_sets.write(tmp_path, content)
    text_of(path, "123456", "9" * 5000)
    words = ["--images", tmp_path, "--annotations", path, "--split", "train"]
    code, err = convert(capsys, *words, "--out", tmp_path / "out")
    assert code == 2
    assert f"{path}: is not valid JSON: " in err


def test_hostile_values_of_voc_are_one_line(tmp_path, capsys):
    def spoil(_, folder):
        text_of(folder / "Annotations" / "1.xml", ">1.png<", f">{'a' * 6000}.png<")
        text_of(folder / "Annotations" / "2.xml", "<xmin>6", f"<xmin>{'9' * 5000}")

    code, err = convert_voc(capsys, tmp_path, spoil)
    assert code == 2
    assert "1.xml: " in err
    assert "File name too long" in err
    assert "must be a finite number" in err
    assert all(len(line) < 1000 for line in err.splitlines())


def test_a_width_of_5000_digits_is_read_from_the_picture(tmp_path, capsys):
    def spoil(_, folder):
        path = folder / "Annotations" / "1.xml"
        text_of(path, f"<width>{small_sets.WIDTH}<", f"<width>{'9' * 5000}<")

    code, err = convert_voc(capsys, tmp_path, spoil)
    check_rule("sizes_read", code, err, strict=False)


def test_a_list_that_is_no_text_is_refused(tmp_path, capsys):
    def spoil(_, folder):
        (folder / "ImageSets" / "Main").mkdir(parents=True)
        (folder / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xe9\n")

    code, err = convert_voc(capsys, tmp_path, spoil)
    assert code == 2
    assert "train.txt: is not UTF-8" in err


def test_large_pictures_are_refused(tmp_path, capsys):
    small = ["--max-pixels", "100"]
    code, err = convert_coco(capsys, tmp_path, lambda *_: None, *small)
    check_refusal("many_pixels", code, err, tmp_path)


def check_refusal(kind, code, err, folder):
    assert code == 2
    assert REFUSED[kind].text in err
    assert not (folder / "out").exists()


def test_every_refusal_is_tried():
    assert {*BAD, *BAD_VOC, "many_pixels"} == REFUSED.keys()


def test_the_page_has_the_rule_book():
    spec = importlib.util.spec_from_file_location("rule_book", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.PAGE.read_text(encoding="utf-8")
    assert text == script.page_with_tables(text), "run python scripts/rule_book.py"
