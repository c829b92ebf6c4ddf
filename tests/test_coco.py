"""COCO reader: what it accepts, and the line it says about everything else."""

import copy
import json
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from libra_tf.data.clean import clean_dataset
from libra_tf.data.coco import read_coco
from libra_tf.data.coco_writer import coco_lines
from libra_tf.data.convert import convert
from libra_tf.data.faults import refuse_faults
from libra_tf.data.masks import decompress_counts, draw_mask
from libra_tf.errors import UserError

GOOD = {
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 40, "height": 30},
        {"id": 3, "file_name": "b.jpg", "width": 20, "height": 10},
    ],
    "annotations": [
        {
            "id": 11,
            "image_id": 3,
            "category_id": 90,
            "bbox": [1, 2, 3.5, 4],
            "area": 9,
            "iscrowd": 1,
        },
        {"id": 12, "image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 5]},
    ],
}


def write(tmp_path, content):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def changed(kind, index, **fields):
    content = copy.deepcopy(GOOD)
    content[kind][index].update(fields)
    return content


def without(kind, index, field):
    content = copy.deepcopy(GOOD)
    del content[kind][index][field]
    return content


def with_box(box, **fields):
    return changed("annotations", 1, bbox=box, **fields)


def test_reads_sparse_ids_in_order_and_fills_defaults(tmp_path):
    dataset = read_coco(write(tmp_path, GOOD))
    assert [(c.id, c.name) for c in dataset.categories] == [
        (1, "person"),
        (90, "toothbrush"),
    ]
    assert [image.id for image in dataset.images] == [7, 3]
    plain, crowd = dataset.images[0].annotations[0], dataset.images[1].annotations[0]
    assert (plain.area, plain.iscrowd) == (20.0, False)
    assert (crowd.area, crowd.iscrowd) == (9.0, True)
    assert crowd.bbox == (1.0, 2.0, 3.5, 4.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], ["no object"]),
        ({"images": []}, ["categories", "missing"]),
        (changed("categories", 0, id="1"), ["category 1", "twice"]),
        (changed("categories", 0, id=True), ["category True", "integer"]),
        (changed("categories", 0, name="  "), ["category 90", "text"]),
        (changed("categories", 0, id=1), ["category 1", "twice"]),
        (changed("categories", 0, name="person"), ["'person'", "twice"]),
        (changed("images", 0, id=3), ["image 3", "twice"]),
        (changed("images", 0, id=True), ["image True", "integer"]),
        (changed("images", 0, id=[7]), ["image [7]", "integer"]),
        (changed("images", 0, width=40.5), ["image 7", "width 40.5"]),
        (changed("images", 0, height="high"), ["image 7", "height 'high'"]),
        (changed("images", 0, file_name=None), ["image 7", "file_name is missing"]),
        (changed("annotations", 0, id=1.5), ["annotation 1.5", "integer"]),
        (changed("annotations", 0, image_id=99), ["annotation 11", "image_id 99"]),
        (changed("annotations", 0, category_id=2), ["annotation 11", "category_id 2"]),
        (without("annotations", 0, "bbox"), ["annotation 11", "bbox is missing"]),
        (with_box(None), ["annotation 12", "bbox is missing"]),
        (with_box([0, 0, "four", 1]), ["annotation 12", "bbox"]),
        (with_box([0, 0, True, 1]), ["annotation 12", "bbox"]),
        (changed("annotations", 0, iscrowd=2), ["annotation 11", "iscrowd"]),
        (changed("annotations", 0, iscrowd="maybe"), ["annotation 11", "iscrowd"]),
        (changed("annotations", 0, area="big"), ["annotation 11", "area"]),
        (changed("annotations", 0, area=-1), ["annotation 11", "area"]),
        (changed("annotations", 0, area=math.nan), ["annotation 11", "area"]),
        (with_box([0, 0, math.nan, 1]), ["annotation 12", "bbox"]),
        (with_box([0, 0, math.inf, 1]), ["annotation 12", "bbox"]),
        (with_box([0, 0, 10**400, 1]), ["annotation 12", "bbox"]),
        (with_box([0, 0, 1]), ["annotation 12", "bbox"]),
        (with_box("0 0 1 1"), ["annotation 12", "bbox"]),
        (with_box([0, 0, 1, 1], segmentation=[[1, 2, 3]]), ["annotation 12", "even"]),
        (
            with_box([0, 0, 1, 1], segmentation=[[0, 0, 9, 0, math.nan, 3]]),
            ["annotation 12", "finite"],
        ),
        (
            with_box([0, 0, 1, 1], segmentation=[[0, 0, 1e9, 0, 9, 9]]),
            ["annotation 12", "outside"],
        ),
        (
            with_box([0, 0, 1, 1], segmentation={"size": [9, 9], "counts": [81]}),
            ["annotation 12", "size"],
        ),
    ],
)
def test_refuses_with_one_line_that_names_file_and_record(tmp_path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as error:
        refuse_faults(read_coco(path).faults)
    text = str(error.value).splitlines()[0]  # One line a record.
    for word in [str(path), *words]:
        assert word in text


@pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000])
def test_refuses_what_is_not_json(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"x\.json: is (empty|not|nested)"):
        read_coco(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing here\.json: cannot be read"):
        read_coco(tmp_path / "nothing here.json")


def test_degenerate_polygons_count_as_no_segmentation(tmp_path):
    # pycocotools would read four numbers as a box.
    content = with_box([0, 0, 4, 5], segmentation=[[0, 0, 4, 5]])
    assert read_coco(write(tmp_path, content)).images[0].annotations[
        0
    ].segmentation is (None)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_equal_pycocotools(seed):
    rng = np.random.default_rng(seed)
    truth = (rng.random((37, 53)) < [0.02, 0.5, 0.98, 0.0, 1.0][seed]).astype(np.uint8)
    packed = coco_mask.encode(np.asfortranarray(truth))
    counts = packed["counts"].decode()
    compressed = {"size": [37, 53], "counts": counts}
    plain = {"size": [37, 53], "counts": decompress_counts(counts)}
    np.testing.assert_array_equal(draw_mask(compressed, 37, 53), truth)
    np.testing.assert_array_equal(draw_mask(plain, 37, 53), truth)


@pytest.mark.parametrize("counts", [[5], [-1, 101], [1.0, 99], "~~~", "o" * 20, 100])
def test_broken_run_lengths_are_refused(counts):
    with pytest.raises(UserError, match="annotation 5: the run lengths"):
        draw_mask({"size": [10, 10], "counts": counts}, 10, 10, "annotation 5")


def clean(tmp_path, box, masks=False, **fields):
    dataset = read_coco(write(tmp_path, with_box(box, **fields)))
    cleaned = clean_dataset(dataset, masks)
    return cleaned.images[0].annotations, cleaned.findings


@pytest.mark.parametrize(
    ("box", "expected", "clipped"),
    [
        ([35, 20, 5, 10], (35, 20, 5, 10), 0),  # Touches the border.
        ([35, 20, 5.4, 10], (35, 20, 5, 10), 1),  # 0.4 px over it.
        ([35, 20, 5.005, 10], (35, 20, 5, 10), 0),  # Rounding: clipped, not told.
        ([-2, -3, 5, 10], (0, 0, 3, 7), 1),
        ([-100, -100, 1000, 1000], (0, 0, 40, 30), 1),
    ],
)
def test_boxes_over_the_border_are_clipped(tmp_path, box, expected, clipped):
    (kept,), findings = clean(tmp_path, box)
    assert kept.bbox == pytest.approx(expected)
    assert kept.area == pytest.approx(expected[2] * expected[3])
    assert (findings["clipped"].count, findings["dropped"].count) == (clipped, 0)


@pytest.mark.parametrize(
    "box", [[5, 5, 0, 5], [5, 5, -3, 5], [50, 5, 5, 5], [5, 5, 1e-6, 5], [5, -9, 5, 9]]
)
def test_boxes_without_area_are_dropped_and_named(tmp_path, box):
    kept, findings = clean(tmp_path, box)
    assert kept == ()
    assert (findings["dropped"].count, findings["dropped"].first) == (1, [12])
    assert "annotations 12" in next(findings.lines())


@pytest.mark.parametrize("box", [[5, 5, 0, 5], [35, 20, 5.4, 10]])
def test_strict_refuses_instead(tmp_path, box):
    for name, size in (("a.jpg", (40, 30)), ("b.jpg", (20, 10))):
        Image.new("RGB", size).save(tmp_path / name)
    dataset = read_coco(write(tmp_path, with_box(box)))
    with pytest.raises(UserError, match="annotations 12"):
        convert(dataset, tmp_path, tmp_path / "out", "val", quiet=True, strict=True)


def test_masks_are_completed_or_taken_away(tmp_path):
    outline = [[0, 0, 4, 0, 4, 5]]
    (kept,), findings = clean(tmp_path, [0, 0, 4, 5], True, segmentation=outline)
    assert kept.segmentation == outline
    assert findings["box_masks"].first == [11]  # The other annotation has none.
    (kept,), _ = clean(tmp_path, [0, 0, 4, 5], False, segmentation=outline)
    assert kept.segmentation is None


def test_only_the_first_ten_ids_are_named(tmp_path):
    content = copy.deepcopy(GOOD)
    for key in range(100, 115):
        box = {"id": key, "image_id": 7, "category_id": 1, "bbox": [1, 1, 0, 0]}
        content["annotations"].append(box)
    dataset = read_coco(write(tmp_path, content))
    findings = clean_dataset(dataset, masks=False).findings
    assert findings["dropped"].count == 15
    assert findings["dropped"].first == list(range(100, 110))


def test_written_file_reads_back_equal(tmp_path):
    dataset = read_coco(write(tmp_path, GOOD))
    path = tmp_path / "again.json"
    path.write_text("".join(coco_lines(dataset)))
    again = read_coco(path)
    assert (again.categories, again.images) == (dataset.categories, dataset.images)


def test_annotation_id_zero_is_moved_up(tmp_path):
    # pycocotools takes a match with annotation 0 for no match.
    dataset = read_coco(write(tmp_path, changed("annotations", 0, id=0)))
    written = json.loads("".join(coco_lines(dataset)))
    assert [a["id"] for a in written["annotations"]] == [13, 1]


def test_a_faulty_record_leaves_the_others(tmp_path):
    dataset = read_coco(write(tmp_path, with_box([0, 0, 1])))
    assert [fault.image for fault in dataset.faults] == [7]
    assert [len(image.annotations) for image in dataset.images] == [0, 1]


@pytest.mark.parametrize("ids", [(1, 0, 2), (0, 1, 2), (2, 1, 0)])
def test_of_three_categories_two_may_not_have_one_name(tmp_path, ids):
    categories = [{"id": key, "name": "cat"} for key in ids]
    with pytest.raises(UserError, match="'cat' occurs twice"):
        read_coco(write(tmp_path, {**GOOD, "categories": categories}))


def test_null_is_as_missing(tmp_path):
    nothing = {"area": None, "iscrowd": None, "segmentation": None}
    dataset = read_coco(write(tmp_path, with_box([0, 0, 4, 5], **nothing)))
    assert dataset.faults == ()
    (found,) = dataset.images[0].annotations
    assert (found.area, found.iscrowd, found.segmentation) == (20.0, False, None)


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(True, True), (False, False), ("0", False), ("1", True), (1.0, True), (0, False)],
)
def test_spellings_of_iscrowd(tmp_path, value, crowd):
    dataset = read_coco(write(tmp_path, with_box([0, 0, 4, 5], iscrowd=value)))
    assert dataset.images[0].annotations[0].iscrowd is crowd


@pytest.mark.parametrize("value", [None, 0, -1, "", "0", "absent"])
def test_an_untold_size_is_zero(tmp_path, value):
    content = changed("images", 0, width=value)
    if value == "absent":
        content = without("images", 0, "width")
    image = read_coco(write(tmp_path, content)).images[0]
    assert (image.width, image.height) == (0, 0)


def test_numbers_written_as_texts_or_with_a_point(tmp_path):
    content = changed("images", 0, width="40", height=30.0)
    content["annotations"][1] |= {"bbox": ["1", 2.0, "3", 4], "image_id": 7.0}
    dataset = read_coco(write(tmp_path, content))
    assert (dataset.faults, dataset.images[0].width) == ((), 40)
    assert dataset.images[0].annotations[0].bbox == (1.0, 2.0, 3.0, 4.0)
    assert dataset.findings["texts"].first == [7, 12]


def test_annotation_ids_are_made_unique(tmp_path):
    content = copy.deepcopy(GOOD)
    first, second = content["annotations"]
    bare = {key: value for key, value in second.items() if key != "id"}
    content["annotations"] += [dict(first), {**second, "id": 11}, {**bare, "id": None}]
    content["annotations"].append({**bare, "bbox": [1, 1, 2, 2]})
    dataset = read_coco(write(tmp_path, content))
    ids = sorted(a.id for image in dataset.images for a in image.annotations)
    assert ids == [1, 2, 3, 11, 12]
    assert dataset.findings["repeated"].first == [11]
    assert dataset.findings["renumbered"].first == [11]
    assert dataset.findings["unnumbered"].count == 2


@pytest.mark.parametrize(
    ("segmentation", "area", "mended"),
    [
        (None, 20, None),
        (None, 30, None),  # Pixels of both borders: 5 x 6.
        (None, 31, 20.0),
        (None, 0.1, 20.0),
        ([[0, 0, 4, 0, 4, 5, 0, 5]], 500, 20.0),
        ([[0, 0, 4, 0, 4, 5, 0, 5]], 10, None),
        ([[0, 0, 4, 0, 4, 5, 0, 5]], 0, 20.0),
    ],
)
def test_areas_far_from_the_box(tmp_path, segmentation, area, mended):
    fields = {"area": area, "segmentation": segmentation}
    (kept,), findings = clean(tmp_path, [0, 0, 4, 5], **fields)
    assert kept.area == (area if mended is None else mended)
    assert findings["areas"].count == (mended is not None)


def test_a_thin_polygon_may_have_little_area(tmp_path):
    outline = [[0, 0, 1, 0, 39, 28, 40, 30, 38, 29, 0, 1]]
    dataset = read_coco(
        write(tmp_path, with_box([0, 0, 40, 30], area=20, segmentation=outline))
    )
    image = dataset.images[0]
    drawn = draw_mask(outline, image.height, image.width).sum()
    (kept,), findings = clean(
        tmp_path, [0, 0, 4000, 3000], area=float(drawn), segmentation=outline
    )
    assert kept.area == drawn
    assert findings["areas"].count == 0


LINE = [5, 5, 15, 10, 25, 15]


@pytest.mark.parametrize(
    "segmentation",
    [
        [[0, 0, 4, 5]],
        [LINE],
        [[9, 9, 9, 9, 9, 9, 9, 9]],
        [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2, 5.1, 5.2]],  # An area, but of no pixel.
        [[-30, -20, -20, -20, -20, -10]],  # Outside the picture.
        {"size": [30, 40], "counts": [1200]},
    ],
)
def test_a_mask_without_pixels_becomes_the_box(tmp_path, segmentation):
    (kept,), findings = clean(tmp_path, [0, 0, 4, 5], True, segmentation=segmentation)
    assert kept.segmentation == [[0, 0, 4, 0, 4, 5, 0, 5]]
    assert findings["box_masks"].first == [12, 11]


def test_a_flat_polygon_beside_another_is_left_out(tmp_path):
    outline = [0, 0, 4, 0, 4, 5]
    (kept,), findings = clean(
        tmp_path, [0, 0, 4, 5], True, segmentation=[LINE, outline]
    )
    assert kept.segmentation == [outline]
    assert findings["flat_parts"].first == [12]


def test_run_lengths_that_do_not_fit_are_faults_of_their_picture(tmp_path):
    counts = {"size": [30, 40], "counts": [7]}
    path = write(tmp_path, with_box([0, 0, 4, 5], segmentation=counts))
    cleaned = clean_dataset(read_coco(path), True)
    assert [fault.image for fault in cleaned.faults] == [7]
    assert "annotation 12: the run lengths" in cleaned.faults[0].text
