"""One list of classes for all splits."""

import pytest

from libra_tf.data.class_list import one_class_list
from libra_tf.data.records import Annotation, Category, Dataset, ImageRecord
from libra_tf.errors import UserError


def split(source, *, used=(), **names):
    """A split with classes `i1="cat"`, and one object of each id that is used."""
    categories = tuple(Category(int(key[1:]), name) for key, name in names.items())
    objects = tuple(
        Annotation(number, key, (0, 0, 2, 2), 4)
        for number, key in enumerate(used, start=1)
    )
    return Dataset(source, categories, (ImageRecord(1, "a.jpg", 4, 4, objects),))


def ids(dataset):
    return {category.id: category.name for category in dataset.categories}


def used(dataset):
    names = ids(dataset)
    return [names[a.category_id] for i in dataset.images for a in i.annotations]


def test_ids_of_the_files_stay_where_they_agree():
    train = split("train", i1="cat", i90="dog", used=(1, 90))
    val = split("val", i90="dog", i3="owl", used=(90, 3))
    one, other = one_class_list([train, val])
    assert ids(one) == ids(other) == {1: "cat", 3: "owl", 90: "dog"}
    assert other.images == val.images
    assert one.findings.as_dict() == {"classes_added": {"count": 1, "first": ["owl"]}}
    assert one_class_list([train])[0] == train


def test_classes_are_matched_by_name_where_ids_contradict_each_other():
    train = split("train", i1="cat", i2="dog", used=(1, 2))
    val = split("val", i1="dog", i2="fish", used=(2, 1))
    one, other = one_class_list([train, val])
    assert ids(one) == ids(other) == {1: "cat", 2: "dog", 3: "fish"}
    assert (used(one), used(other)) == (["cat", "dog"], ["fish", "dog"])
    assert other.findings["classes_by_name"].first == ["dog", "fish"]
    # Detections are written back with the file's own ids; it has no cat, nor a 3.
    assert [(c.name, c.file_id) for c in other.categories] == [
        ("cat", 3),
        ("dog", 1),
        ("fish", 2),
    ]


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        ({"i1": "car"}, {"i1": "auto"}, r"val: class 1 is 'auto', but 'car' in train"),
        (
            {"i1": "car", "i2": "dog"},
            {"i1": "dog", "i2": "Car"},
            r"class 'Car' is 'car' in train",
        ),
    ],
)
def test_names_that_may_mean_one_class_are_refused(train, val, words):
    with pytest.raises(UserError, match=words):
        one_class_list([split("train", **train), split("val", **val)])


def test_given_classes_set_the_ids_of_any_format():
    data = split("set", i4="dog", i9="animals", i5="cat", used=(5, 4))
    (given,) = one_class_list([data], ["cat", "owl", "dog"])
    assert ids(given) == {1: "cat", 2: "owl", 3: "dog"}
    assert used(given) == ["cat", "dog"]
    with pytest.raises(UserError, match=r"class 'dog' is not among.*--classes"):
        one_class_list([data], ["cat"])
    for wrong in (["cat", "dog", "cat"], ["cat", "dog", ""]):
        with pytest.raises(UserError, match="twice or without a name"):
            one_class_list([data], wrong)
