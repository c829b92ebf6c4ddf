"""experiments.fields and contradictions of data and schedule: what is refused."""

import re

import pytest

from libra_tf.errors import UserError
from libra_tf.experiments import NAMES
from libra_tf.experiments.contradictions import check_experiment
from libra_tf.experiments.fields import check_fields
from libra_tf.experiments.loss_config import BOX_LOSSES
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import get_experiment, override, parse_override

FASTER, MASK, RETINA = NAMES


def experiment(*settings, name=FASTER):
    """An experiment that could run, with some settings changed."""
    params = get_experiment(name)
    records = {"input_path": "*.tfrecord"}
    override(
        params,
        {
            "task": {
                "dataset": "",
                "model": {"num_classes": 3},
                "train_data": records,
                "validation_data": records,
            }
        },
        "test",
    )
    for setting in settings:
        override(params, parse_override(setting), setting)
    return params


def refusal(*settings, name=FASTER):
    with pytest.raises(UserError) as error:
        resolve(experiment(*settings, name=name))
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_the_experiments_are_good(name):
    resolve(experiment(name=name))


@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_resnetfpn_coco",
        "retinanet_spinenet_coco",
        "cascadercnn_spinenet_coco",
    ],
)
def test_the_types_that_model_garden_itself_uses_are_good(name):
    check_fields(get_experiment(name))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("runtime.num_gpus=two", "runtime.num_gpus is 'two'; it must be of type int"),
        ("runtime.num_gpus=true", "runtime.num_gpus is True; it must be of type int"),
        ("trainer.train_steps=1e4", "trainer.train_steps is '1e4'; .* type int"),
        ("trainer.train_steps=90.5", "trainer.train_steps is 90.5; .* type int"),
        ("trainer.train_steps={a: 1}", r"trainer.train_steps is .*; .* type int"),
        ("trainer.seed=lucky", "trainer.seed is 'lucky'; .* type int or null"),
        ("task.dataset=4", "task.dataset is 4; it must be of type str"),
        ("task.losses.box.beta=1e", "task.losses.box.beta is '1e'; .* type float"),
        ("runtime.enable_xla=1", "runtime.enable_xla is 1; .* type bool"),
        ("task.losses.box=l1", "task.losses.box is 'l1'; it must be of type mapping"),
        ("task.model.num_classes=null", "num_classes is None; it must be of type int"),
        ("task.model.input_size=null", "input_size is None; .* type list of int"),
        ("task.model=null", "task.model is None; it must be of type mapping"),
        ("trainer.optimizer_config=null", "optimizer_config is None; .* type mapping"),
        ("task.model.input_size=512", "input_size is 512; .* type list of int"),
        (
            "task.model.input_size=[512, 512.5, 3]",
            r"task.model.input_size is \[512, 512.5, 3\]; .* type list of int",
        ),
        (
            "trainer.optimizer_config.optimizer.sgd.global_clipnorm=big",
            "sgd.global_clipnorm is 'big'; .* type float or null",
        ),
        ("task.class_names=[a, 1]", r"class_names is \['a', 1\]; .* type list of str"),
    ],
)
def test_values_of_another_type(setting, message):
    assert re.search(message, refusal(setting))


@pytest.mark.parametrize(
    "setting",
    [
        "task.losses.box.beta=1",
        "task.losses.box.beta=1e-3",
        "task.losses.box.beta=2.5E+1",
        "trainer.optimizer_config.optimizer.sgd.global_clipnorm=1e1",
        "trainer.optimizer_config.learning_rate.stepwise.values=[1e-2, 1e-3, .1e-3]",
        "task.dataset=",
        "trainer.seed=7",
        "trainer.optimizer_config.optimizer.sgd.global_clipnorm=null",
        "task.train_data.input_path=[a, b]",
        "task.init_checkpoint_modules=[backbone, decoder]",
    ],
)
def test_values_of_a_type_that_fits(setting):
    resolve(experiment(setting))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("task.model.neck.type=pafpn", "choose none, balanced_feature_pyramid"),
        ("task.model.neck.refine=gaussian", "choose none, conv, non_local"),
        ("task.model.neck.refine_level=7", "is 7; the pyramid has the levels 2 to 6"),
        ("task.losses.normalizer=mean", "is 'mean'; choose tfm, reference"),
        ("task.losses.box.type=giou", f"'giou'; choose {', '.join(BOX_LOSSES)}$"),
        ("task.losses.box.form=paper", "is 'paper'; choose consistent, reference"),
        ("task.losses.box.weight=-1", "task.losses.box.weight is -1; it must be >= 0"),
        ("task.losses.box.alpha=0", "task.losses.box.alpha is 0; it must be > 0"),
        ("task.losses.box.gamma=-2", "task.losses.box.gamma is -2; it must be > 0"),
        ("task.losses.box.beta=.nan", "task.losses.box.beta is nan; it must be > 0"),
        ("task.losses.box.beta=.inf", "task.losses.box.beta is inf; it must be > 0"),
        (
            "task.model.roi_sampler.positives=ohem",
            "positives is 'ohem'; choose random, instance_balanced, hardest, all",
        ),
        (
            "task.model.roi_sampler.negatives=ohem",
            "negatives is 'ohem'; choose random, iou_balanced, iou_balanced_pub",
        ),
        (
            "task.model.roi_sampler.num_bins=0",
            r"roi_sampler.num_bins is 0; it must be in \[1, 10000\]",
        ),
        ("task.model.roi_sampler.foreground_fraction=1.5", r"is 1.5; .* in \[0, 1\]"),
        ("task.losses.box.gamma=50", "gamma / alpha is 100; balanced L1 overflows"),
        ("task.model.backbone.type=resnett", "backbone.type is 'resnett'; choose"),
        ("task.model.backbone.resnet.model_id=19", "model_id is 19; choose 10"),
        ("task.model.min_level=7", "min_level is 7, above task.model.max_level, 6"),
        ("trainer.max_to_keep=0", "max_to_keep is 0; it must be >= 1"),
        ("runtime.mixed_precision_dtype=float17", "'float17'; choose None, float32"),
        ("task.model.frozen_stages=5", r"frozen_stages is 5; it must be in \[0, 4\]"),
        ("task.model.rpn_sampler.neg_pos_ub=-1", "neg_pos_ub is -1; it must be >= 0"),
        (
            "task.losses.frcnn_class_loss_top_k_percent=0.5",
            "frcnn_class_use_binary_cross_entropy belong to normalizer 'tfm'",
        ),
        (
            "task.losses.frcnn_class_use_binary_cross_entropy=true",
            "belong to normalizer 'tfm'",
        ),
        ("task.losses.class_weights=[1.0, 2.0]", "belong to normalizer 'tfm'"),
        ("task.init_checkpoint=", "init_checkpoint is empty, but part of the backbone"),
        ("task.model.input_size=[512, 512]", r"\[512, 512\]; give \[height, width, 3"),
        ("task.model.input_size=[512, 512, 4]", r"give \[height, width, 3\]"),
        ("task.model.input_size=[0, 512, 3]", r"give \[height, width, 3\]"),
        (
            "task.model.input_size=[16, 512, 3]",
            r"multiples of 64, .*: \[64, 512\] is the next",
        ),
        ("task.train_data.input_path=", "task.train_data.input_path is empty: give"),
        ("task.validation_data.input_path=", "validation_data.input_path is empty"),
        ("task.train_data.global_batch_size=0", "global_batch_size is 0; .* >= 1"),
        ("task.validation_data.global_batch_size=-8", "batch_size is -8; .* >= 1"),
        ("trainer.train_steps=-5", "trainer.train_steps is -5; it must be >= 0"),
        ("trainer.steps_per_loop=0", "trainer.steps_per_loop is 0; it must be >= 1"),
        ("trainer.summary_interval=-1", "summary_interval is -1; it must be >= 1"),
        ("trainer.validation_interval=-1", "validation_interval is -1; .* >= 0"),
        ("trainer.reference_batch_size=-1", "reference_batch_size is -1; .* >= 0"),
        ("trainer.checkpoint_interval=0", "checkpoint_interval is 0; it must be >= 1"),
        (
            "trainer.checkpoint_interval=150",
            "checkpoint_interval is 150; .* multiple of trainer.steps_per_loop, 112",
        ),
        (
            "trainer.summary_interval=113",
            "summary_interval is 113; .* multiple of trainer.steps_per_loop, 112",
        ),
        ("trainer.validation_steps=0", "validation_steps is 0; .* or -1 for all"),
        ("trainer.validation_steps=-2", "validation_steps is -2; .* or -1 for all"),
        (
            "trainer.best_checkpoint_eval_metric=mAP",
            "metric is 'mAP'; it must be one of AP, AP50",
        ),
    ],
)
def test_what_makes_no_sense(setting, message):
    assert re.search(message, refusal(setting))


def test_waymo_metrics():
    params = experiment()
    params.task.use_wod_metrics = True
    with pytest.raises(UserError, match="use_wod_metrics: Waymo metrics are not part"):
        check_experiment(params)


@pytest.mark.parametrize(
    "stock",
    [
        "task.model.roi_sampler.negatives=iou_balanced",
        "task.losses.normalizer=reference",
        "task.losses.box.type=l1",
    ],
)
def test_cascade_heads_are_stock_throughout(stock):
    settings = [
        "task.model.roi_sampler.cascade_iou_thresholds=[0.6, 0.7]",
        "task.model.roi_sampler.positives=random",
        "task.model.roi_sampler.negatives=random",
        "task.model.roi_sampler.ignore_padding=false",
        "task.model.clip_to_image=false",
        "task.losses.normalizer=tfm",
        "task.losses.box.type=huber",
    ]
    resolve(experiment(*settings))
    assert "cascade heads work with Model Garden's own" in refusal(*settings, stock)


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_a_backbone_without_checkpoint_must_train(name):
    stages, norm = "task.model.frozen_stages", "task.model.backbone.resnet.bn_trainable"
    settings = ["task.init_checkpoint=", f"{stages}=0", f"{norm}=true"]
    resolve(experiment(*settings, name=name))
    for setting in (f"{stages}=1", f"{norm}=false"):
        assert "frozen at its initial weights" in refusal(*settings, setting, name=name)


def test_replicas_are_on_cpus_or_on_gpus():
    gpus, cpus = "runtime.num_gpus=1", "runtime.cpu_replicas=2"
    resolve(experiment(gpus, "runtime.cpu_replicas=1"))
    resolve(experiment(cpus))
    assert "cpu_replicas is 2, which goes with runtime.num_gpus 0" in refusal(
        gpus, cpus
    )


def test_alternatives_that_are_not_chosen_are_not_checked():
    depth = "task.model.backbone.resnet.model_id=19"
    resolve(experiment(depth, "task.model.backbone.type=torch_resnet"))
    assert "resnet.model_id is 19" in refusal(depth)


def test_sections_that_are_off_are_checked():
    for setting in ("task.model.canvas.divisor=0", "task.losses.box.beta=0"):
        assert "it must be" in refusal(setting, "task.losses.box.type=l1")


def test_the_neck_that_is_off_needs_no_level():
    off = "task.model.neck.type=none"
    resolve(experiment(off, "task.model.neck.refine_level=9"))


def test_the_levels_of_retinanet_are_its_own():
    text = refusal("task.model.neck.refine_level=2", name=RETINA)
    assert "is 2; the pyramid has the levels 3 to 7" in text


def test_switches_of_model_garden_go_with_its_normalizer():
    resolve(
        experiment(
            "task.losses.normalizer=tfm",
            "task.losses.frcnn_class_loss_top_k_percent=0.5",
        )
    )


def test_tfds_needs_no_record_files():
    resolve(experiment("task.train_data.input_path=", "task.train_data.tfds_name=coco"))


def test_the_metric_matters_only_where_the_best_is_kept():
    metric = "trainer.best_checkpoint_eval_metric=loss"
    resolve(experiment(metric, "trainer.best_checkpoint_export_subdir="))
    resolve(experiment("trainer.best_checkpoint_eval_metric=mask_AP50", name=MASK))
