"""What a user sees of parts that do not fit each other."""

import pytest
from official.core import task_factory
from tiny import experiment

import libra_tf.tasks  # noqa: F401  (registration)
from libra_tf.errors import UserError
from libra_tf.experiments.model_config import RetinaNet
from libra_tf.tasks.build_errors import named_build_errors


def test_a_detector_that_cannot_be_built_names_its_settings():
    """Model Garden's FPN wants a level that this backbone has not."""
    params = experiment("libra_fasterrcnn_resnetfpn_coco")
    params.override({"task": {"model": {"backbone": {"type": "spinenet"}}}})
    task = task_factory.get_task(params.task)
    with pytest.raises(UserError) as error:
        task.build_model()
    text = str(error.value)
    assert text.startswith("the detector cannot be built (ValueError: Backbone min")
    assert "not as usual: task.model.backbone.type = 'spinenet', task.model." in text
    assert text.endswith(" more")
    assert len(text) < 1000


@pytest.mark.parametrize("error", [MemoryError(), UserError("x")])
def test_what_has_a_line_of_its_own_is_left(error):
    with (
        pytest.raises(type(error)) as found,
        named_build_errors(RetinaNet(max_level=9)),
    ):
        raise error
    assert found.value is error


def test_a_defect_with_usual_settings_is_a_traceback():
    with pytest.raises(ZeroDivisionError), named_build_errors(RetinaNet()):
        raise ZeroDivisionError
