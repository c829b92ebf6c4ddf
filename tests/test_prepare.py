"""training.prepare: which seed goes where."""

import pytest
import tiny

from libra_tf.experiments.saved import override
from libra_tf.training.prepare import prepare


def prepared(kind, **sections):
    params = tiny.experiment(f"libra_{kind}_resnetfpn_coco", **sections)
    records = {"input_path": "*.tfrecord"}
    data = {"train_data": records, "validation_data": records}
    override(params, {"task": data}, "test")
    prepare(params)
    return params


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_seed_of_the_trainer_goes_everywhere(kind):
    params = prepared(kind, trainer={"seed": 3})
    assert params.task.seed == 3
    assert params.task.train_data.seed == 3
    if params.task.is_two_stage:
        assert params.task.model.roi_sampler.seed == 3


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_seed_of_the_weights_that_is_given_stays(kind):
    given = {"seed": 7}
    params = prepared(kind, task=given, trainer={"seed": 3})
    assert (params.task.seed, params.task.train_data.seed) == (7, 3)


def test_a_seed_of_the_data_is_not_one_of_the_weights():
    given = {"train_data": {"seed": 5}}
    params = prepared("retinanet", task=given, trainer={"seed": None})
    assert (params.task.seed, params.task.train_data.seed) == (None, 5)
    params = prepared("retinanet", task=given, trainer={"seed": 3})
    assert (params.task.seed, params.task.train_data.seed) == (3, 5)
