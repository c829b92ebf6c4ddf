"""Labels keep apart from each other, stay in the picture and by their box."""

import itertools

import numpy as np

from libra_tf.drawing.labels import Label, choose_place, write_labels

GREY = np.full((240, 320, 3), 120, np.uint8)
SIZE, PICTURE = (60, 14), (320, 240)


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width > 0 and height > 0


def test_the_first_place_is_above_the_box():
    assert choose_place((100, 100, 180, 180), SIZE, PICTURE, []) == (100, 84, 160, 98)


def test_labels_of_one_box_do_not_cover_each_other():
    taken = []
    for _ in range(8):
        place = choose_place((100, 90, 180, 150), SIZE, PICTURE, taken)
        assert not any(overlap(place, other) for other in taken)
        taken.append(place)


def test_a_label_stays_in_the_picture():
    boxes = [(0, 0, 20, 20), (300, 220, 319, 239), (-50, -50, 400, 400)]
    for box in boxes:
        left, top, right, bottom = choose_place(box, SIZE, PICTURE, [])
        assert 0 <= left < right < 320
        assert 0 <= top < bottom < 240


def test_where_all_is_taken_the_least_is_covered():
    taken = [(0, 0, 320, 100), (0, 100, 320, 239), (0, 0, 320, 239)]
    place = choose_place((100, 90, 180, 150), SIZE, PICTURE, taken)
    assert place == (100, 74, 160, 88)  # all equal: the first


def test_labels_are_written_in_their_colours():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    labels = [Label("cell 0.99", (100, 100, 180, 180), color) for color in colors]
    picture = write_labels(GREY, labels)
    areas = [np.argwhere((picture == color).all(-1)) for color in colors]
    assert all(len(area) > 100 for area in areas)
    boxes = [(*a.min(0)[::-1], *(a.max(0)[::-1] + 1)) for a in areas]
    assert not any(overlap(*pair) for pair in itertools.combinations(boxes, 2))
    assert (write_labels(GREY, []) == GREY).all()
