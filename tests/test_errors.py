"""errors: whatever a file holds, an error is lines that can be shown."""

import pickle

from libra_tf.errors import LONGEST_LINE, UserError, shortened


def test_a_line_is_as_it_was_given():
    text = "a.json: annotation 3: größe 'x' must be a number; mend it"
    assert str(UserError(text)) == text


def test_what_a_file_holds_neither_ends_the_line_nor_acts_on_the_terminal():
    text = str(UserError("a.yaml: there is no setting a\nb\x1b[2J\ud800\u202e"))
    assert text == r"a.yaml: there is no setting a\nb\x1b[2J\ud800\u202e"


def test_each_argument_is_a_line():
    error = UserError("a.xml: one\ntwo", "b.xml: three")
    assert error.reasons == [r"a.xml: one\ntwo", "b.xml: three"]
    assert str(error) == "a.xml: one\\ntwo\nb.xml: three"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_long_line_has_its_beginning_and_its_end():
    text = str(UserError(f"a.json: bbox {'[1, ' * 9000} must be four numbers; mend it"))
    assert len(text) == LONGEST_LINE
    assert text.startswith("a.json: bbox [1, [1, ")
    assert text.endswith(" must be four numbers; mend it")


def test_as_many_characters_as_asked_for_stay():
    assert [shortened("abcdefghij", n) for n in (10, 9, 6)] == [
        "abcdefghij",
        "abcd...ij",
        "ab...j",
    ]
