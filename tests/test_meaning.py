"""Well-formed boxes that mean something else: when it is said, and when not."""

import pytest

from libra_tf.data.findings import Findings
from libra_tf.data.meaning import MIN_OBJECTS, check_boxes, check_classes
from libra_tf.data.records import Annotation, Category, Dataset, ImageRecord

CATEGORIES = (Category(1, "cat"), Category(2, "dog"))
SIZE = (100, 60)


def dataset(*images, size=SIZE, crowd=False):
    """One image for each list of boxes; the class is that of a fifth number, or 1."""
    records, key = [], 0
    for number, boxes in enumerate(images, start=1):
        objects = []
        for box in boxes:
            key += 1
            category = box[4] if len(box) > 4 else 1
            bbox = tuple(map(float, box[:4]))
            objects.append(Annotation(key, category, bbox, 1.0, crowd))
        name = f"{number}.jpg"
        records.append(ImageRecord(number, name, *size, tuple(objects)))
    return Dataset("a.json", CATEGORIES, tuple(records))


def found(data):
    findings = Findings()
    faults = check_boxes(data, findings)
    return {k: v["count"] for k, v in findings.as_dict().items()}, faults


PLAIN = [(10, 10, 20, 30), (60, 5, 15, 25), (40, 30, 50, 20), (5, 35, 25, 20)]


def test_plain_boxes_are_not_told_of():
    assert found(dataset(PLAIN, [])) == ({}, [])


@pytest.mark.parametrize(
    "boxes",
    [
        [(0.1, 0.2, 0.5, 0.5), (0, 0, 1, 1)],
        [(0.1 - 1, 0.2 - 1, 1.5, 1.5)],  # VOC, which counts from 1.
    ],
)
def test_a_split_of_fractions_is_a_fault_of_no_picture(boxes):
    counts, (fault,) = found(dataset(boxes, [], boxes))
    assert (counts, fault.image) == ({}, None)
    assert "a.json: all boxes lie in 0..1" in fault.text


def test_some_pictures_with_fractions_are_counted():
    counts, faults = found(dataset([(0, 0, 0.5, 0.5)], PLAIN))
    assert (counts, faults) == ({"normalized": 1}, [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (dataset([(0, 0, 1, 1)], size=(2, 2)), False),  # An icon.
        (dataset([(0, 0, 1.1, 1)]), False),
        (dataset([], []), False),
    ],
)
def test_not_fractions(data, said):
    assert bool(found(data)[1]) is said


def test_equal_boxes_of_one_class_in_one_picture():
    twins = [(1, 1, 5, 5), (1, 1, 5, 5), (1, 1, 5, 5, 2)]
    assert found(dataset(twins, twins[:1]))[0]["equal_boxes"] == 1
    assert "equal_boxes" not in found(dataset(twins[:2], crowd=True))[0]


CORNERS = [(10, 10, 30, 40), (60, 5, 75, 30), (40, 30, 90, 50), (50, 35, 80, 55)]


def test_corners_read_as_sizes():
    assert found(dataset(CORNERS))[0]["corners"] == 3


def test_one_box_that_is_no_corner_ends_the_doubt():
    assert "corners" not in found(dataset([*CORNERS, (60, 30, 20, 30)]))[0]


def test_boxes_over_the_border_are_not_corners():
    over = [(80, 10, 90, 20), (10, 10, 20, 20), (5, 5, 20, 20), (2, 2, 9, 9)]
    assert "corners" not in found(dataset(over))[0]  # One of four crosses.


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        (lambda k: (20 * k, 12 * k, 20, 10), "one_size"),
        (lambda k: (0, 0, 100 - k / 9, 60), "whole_pictures"),
        (lambda k: (k, k, 50 - k, 30 - 2 * k), "one_corner"),
        (lambda k: (50 + k, k, 40, 30 - 2 * k), "one_corner"),
    ],
)
def test_all_alike_is_told_from_four_objects_on(box, rule):
    boxes = [[box(k)] for k in range(MIN_OBJECTS)]
    assert found(dataset(*boxes))[0] == {rule: MIN_OBJECTS}
    assert found(dataset(*boxes[1:]))[0] == {}
    other = [(30, 20, 33, 22)]
    assert found(dataset(*boxes, other))[0] == {}


def test_a_split_without_object():
    findings = Findings()
    check_classes(dataset([], []), findings)
    assert findings["no_objects"].first == ["1.jpg", "2.jpg"]
    check_classes(dataset([], PLAIN), findings)
    assert findings["no_objects"].count == 2


def test_classes_with_one_object_or_none():
    findings = Findings()
    check_classes(dataset([(1, 1, 5, 5)]), findings)
    assert findings["one_example"].first == ["cat"]
    assert findings["no_example"].first == ["dog"]
    check_classes(dataset(PLAIN, crowd=True), findings)  # Crowds are no examples.
    assert findings["no_example"].first == ["dog", "cat", "dog"]
