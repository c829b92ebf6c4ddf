"""Files that are there whole or not at all."""

import pytest

from libra_tf.files.atomic import draft_of, write_text


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "\u00e4" * 125 + ".png"])
def test_a_name_as_long_as_a_name_may_be(tmp_path, name):
    write_text(tmp_path / name, ["a"])
    assert (tmp_path / name).read_text() == "a"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a"
    write_text(path, ["old"])

    def fail():
        with draft_of(path) as draft:
            draft.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
