"""errors: whatever a file holds, an error is lines that can be shown."""

import pickle

import pytest
import tensorflow as tf
import tf_keras

from libra_tf.errors import LONGEST_LINE, UserError, cause_of, shortened


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


def test_the_cause_of_an_error_that_was_made_while_tracing():
    @tf.function
    def trace(x):
        return {"a": x}["b"]

    with pytest.raises(KeyError, match="in user code:") as error:
        trace(tf.zeros([1]))
    assert cause_of(error.value) == "'b'"


def test_the_cause_of_an_error_in_a_layer():
    """Keras tells the arguments of the call behind it."""
    layer = tf_keras.layers.Dense(2)
    model = tf_keras.Sequential([layer])
    model.build([None, 3])
    with pytest.raises(ValueError, match="Call arguments received by") as error:
        tf.function(lambda x: model(x))(tf.zeros([1, 4]))
    assert cause_of(error.value).startswith('Input 0 of layer "dense')


def test_the_cause_of_an_error_of_a_graph():
    @tf.function
    def reshape(x):
        return tf.reshape(x, [x[0], x[1]])

    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        reshape(tf.constant([7, 2]))
    assert cause_of(error.value).startswith("Input to reshape is a tensor with 2 ")


def test_the_cause_of_other_errors():
    assert cause_of(KeyError()) == "KeyError"
    assert cause_of(ValueError("one\ntwo")) == "one"
