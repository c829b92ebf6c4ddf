"""Each setting of each experiment with values that make little sense.

Each value is taken, or refused in one line that names the setting. No model is built.
"""

import copy
import math
import os

import pytest
from test_fields import experiment, refusal

from libra_tf.commands.main import main
from libra_tf.errors import UserError
from libra_tf.experiments import NAMES
from libra_tf.experiments.fields import check_field, plain_types, walk
from libra_tf.experiments.resolve import resolve

TEXT = "no such thing"
HUGE = 10**30
VALUES = [
    -1, 0, 10**9, HUGE, 10**400, -0.5, 1e-30, 1e300, math.nan, math.inf, -math.inf,
    True, None, "", TEXT, "1e", [], [-1], [math.nan], [TEXT], [[]], {}, {"a": 1},
]  # fmt: skip
# Settings of which any text is good: names and paths.
FREE = {
    "annotation_file", "best_checkpoint_export_subdir", "class_names", "dataset",
    "include_in_weight_decay", "exclude_from_weight_decay", "init_checkpoint",
    "exclude_from_layer_adaptation", "include_in_sparse_layer_adaptation", "input_path",
    "label_map", "name", "tf_data_service_address", "tf_data_service_job_name",
    "tfds_data_dir", "tfds_name", "tfds_split", "tfds_skip_decoding_feature", "tpu",
    "train_split", "trainer_id", "validation_split", "validation_summary_subdir",
    "worker_hosts", "experiment", "attribute_names", "attribute_heads", "aug_policy",
}  # fmt: skip


def fields(params):
    return [f for f in walk(params, chosen_only=True) if f.path != "experiment"]


def owner(params, path):
    *sections, name = path.split(".")
    for section in sections:
        params = getattr(params, section)
    return params, name


def outcome(params, field, value):
    """ "taken", or what is said; an error of another kind is told as such."""
    place, name = owner(params, field.path)
    before = getattr(place, name)
    try:
        place.__dict__[name] = value
        try:
            check_field(next(f for f in walk(place) if f.name == name)._replace(
                path=field.path, limits=field.limits
            ))  # fmt: skip
            resolve(copy.deepcopy(params))
        except UserError as error:
            return str(error)
        return "taken"
    finally:
        place.__dict__[name] = before


def is_senseless(field, value):
    """Whether no setting of this type could be this."""
    types = plain_types(field.annotation)
    numbers = types & {int, float}
    entries = value if isinstance(value, list) else [value]
    if not numbers and types == {str}:
        return field.name not in FREE and TEXT in entries
    for entry in entries:
        if isinstance(entry, float) and not abs(entry) < 1e300:
            return True
        if numbers and str not in types and isinstance(entry, str) and entry:
            return True
        if numbers and isinstance(entry, int) and entry >= HUGE:
            return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_taken_or_refused_in_a_line(name):
    params = experiment(name=name)
    count, taken, failures = 0, [], []
    for field in fields(params):
        for value in VALUES:
            count += 1
            try:
                text = outcome(params, field, value)
            except Exception as error:
                failures.append((field.path, repr(value)[:40], repr(error)[:200]))
                continue
            if text == "taken":
                taken.append((field.path, repr(value)[:40]))
                if is_senseless(field, value):
                    failures.append((field.path, repr(value)[:40], text))
                continue
            # A line about two settings may name the section of both, and one about a
            # file names that.
            names = (
                field.path,
                field.path.rpartition(".")[0],
                f"{value}: ",
                f"/{value}",
            )
            named = any(name in text for name in names)
            if not (named and text.isprintable() and len(text) < 600):
                failures.append((field.path, repr(value)[:40], text[:300]))
    print(f"{name}: {count} values, {len(taken)} taken, {len(failures)} failures")
    if "SHOW_TAKEN" in os.environ:
        print("\n".join(map(str, taken)))
    assert not failures, "\n".join(map(str, failures))
    assert count > 5000


# What was accepted once, and a word of what is said now.
SENSELESS = {
    "trainer.optimizer_config.learning_rate.stepwise.values=[-1, -2, -3]": ">= 0",
    "trainer.optimizer_config.learning_rate.stepwise.values=[1.0]": "one entry more",
    "trainer.optimizer_config.learning_rate.stepwise.boundaries=[9, 3]": "must rise",
    "trainer.optimizer_config.learning_rate.type=cosine": "is not set",
    "trainer.optimizer_config.learning_rate.type=null": "both must be set",
    "trainer.optimizer_config.warmup.linear.warmup_steps=null": "is not set",
    "trainer.optimizer_config.ema={average_decay: 2}": "in [0, 1)",
    "trainer.best_checkpoint_metric_comp=best": "choose higher, lower",
    "task.model.decoder.fpn.num_filters=-3": "[1, 65536]",
    "task.model.roi_generator.num_proposals=-5": "[1, 1000000]",
    "task.model.anchor.anchor_size=-4": "(0, 10000]",
    "task.model.anchor.aspect_ratios=[]": "at least 1, each > 0",
    "task.model.norm_activation.activation=rlu": "choose relu",
    "task.model.include_mask=true": "is null: use an experiment of Mask R-CNN",
    "task.train_data.parser.rpn_match_threshold=0.2": "is above rpn_match_threshold",
    "task.train_data.parser.aug_scale_min=3.0": "above aug_scale_max, 1.0",
    "trainer.seed=-1": "[0, 2147483647]",
    "trainer.train_steps=100000000000": "[-2147483647, 2147483647]",
    "runtime.loss_scale=big": "'dynamic' or a number > 0",
}


@pytest.mark.parametrize("setting", SENSELESS)
def test_what_was_accepted_once(setting):
    text = refusal(setting)
    assert setting.partition("=")[0].rpartition(".")[0] in text
    assert SENSELESS[setting] in text


def test_texts_that_look_like_numbers_stay():
    params = experiment("task.class_names=[background, 1e4, 1e-2]")
    assert params.task.class_names == ["background", "1e4", "1e-2"]
    resolve(params)


def test_a_value_is_looked_at_as_the_command_does(capsys):
    """The same values from the command line, of a few settings."""
    for setting in (
        "task.model.norm_activation.activation=rlu",
        "task.model.anchor.aspect_ratios=[]",
        "trainer.seed=-1",
        "trainer.optimizer_config.learning_rate.stepwise.values=[.nan, 1.0, 1.0]",
        "task.losses.box.beta=!!int x",
        "task.losses.box.beta=!!timestamp x",
        "task.losses.box.beta=" + "[" * 5000,
    ):
        words = ["--experiment", NAMES[0], "--set", setting]
        assert main(["config", "show", *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert setting.partition("=")[0] in err
