"""experiments.contradictions: each refusal, and that its neighbours are allowed."""

import re

import pytest

from libra_tf.errors import UserError
from libra_tf.experiments import (
    NAMES,
    class_loss_config,
    contradictions,
    loss_config,
    sampler_config,
)
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import get_experiment, override, parse_override

FASTER, MASK, RETINA = NAMES


def experiment(*settings, name):
    """An experiment that could run, with some settings changed."""
    params = get_experiment(name)
    records = {"input_path": "*.tfrecord"}
    task = {
        "dataset": "",
        "model": {"num_classes": 3},
        "train_data": records,
        "validation_data": records,
    }
    override(params, {"task": task}, "test")
    for setting in settings:
        override(params, parse_override(f"task.{setting}"), setting)
    return params


def refusal(*settings, name=RETINA):
    with pytest.raises(UserError) as error:
        resolve(experiment(*settings, name=name))
    text = str(error.value)
    assert "\n" not in text
    return text


def accept(*settings, name=RETINA):
    resolve(experiment(*settings, name=name))


@pytest.mark.parametrize("name", [MASK, RETINA])
def test_every_message_names_settings_that_there_are(name):
    params = experiment(name=name)
    kind = "TWO_STAGE" if params.task.is_two_stage else "ONE_STAGE"
    rows = sum((getattr(contradictions, n) for n in ("DETECTOR", kind, "RUN")), ())
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        text = row.message.format(
            task=params.task, trainer=params.trainer, runtime=params.runtime
        )
        assert re.search(r"\b(task|trainer|runtime)\.", text)
        assert "{" not in text


CLASS = "losses.classification"
RESIDUAL = ("model.objectness.type=residual", f"{CLASS}.type=residual_objectness")
STOCK_SAMPLER = (
    "model.roi_sampler.positives=random",
    "model.roi_sampler.negatives=random",
    "model.roi_sampler.ignore_padding=false",
    "model.clip_to_image=false",
)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.objectness.type=cascade", "is 'cascade'; choose none, residual"),
        ("model.prior.value=0.0", r"value is 0.0; it must be in \(0, 1\)"),
        ("model.prior.value=1.0", r"value is 1.0; it must be in \(0, 1\)"),
        ("model.prior.value=.nan", r"value is nan; it must be in \(0, 1\)"),
        ("model.prior.score_threshold=low", "choose fixed, global_prior, class_prior"),
        ("losses.isr.k=-1", "task.losses.isr.k is -1; it must be >= 0"),
        ("losses.isr.k=.inf", "task.losses.isr.k is inf; it must be >= 0"),
        ("losses.isr.bias=-0.5", r"task.losses.isr.bias is -0.5; .* in \[0, 1\]"),
        ("losses.isr.bias=2", r"task.losses.isr.bias is 2; .* in \[0, 1\]"),
        ("losses.carl.k=-1", "task.losses.carl.k is -1; it must be >= 0"),
        ("losses.carl.bias=1.5", r"task.losses.carl.bias is 1.5; .* in \[0, 1\]"),
        ("losses.carl.weight=-1", "task.losses.carl.weight is -1; .* >= 0"),
        ("losses.guided.factor=0", "task.losses.guided.factor is 0; it must be > 0"),
        ("max_num_eval_detections=0", r"max_num_eval_detections is 0; .* in \[1, "),
        (
            "model.neck.conv_out_initializer=he_normal",
            "is 'he_normal'; choose zeros, glorot_uniform",
        ),
        ("losses.guided.roi_factor=-1", "guided.roi_factor is -1; it must be > 0"),
    ],
)
@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_ranges_of_every_detector(name, setting, message):
    assert re.search(message, refusal(setting, name=name))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (f"{CLASS}.type=softmax", "is 'softmax'; choose focal, cross_entropy, ghm_c"),
        (f"{CLASS}.weight=0", "classification.weight is 0; it must be > 0"),
        (f"{CLASS}.ghm.num_bins=0", r"classification.ghm.num_bins is 0; .* in \[1, "),
        (
            f"{CLASS}.ghm.mu=0",
            r"classification.ghm.mu is 0; .* in \[1e-15, 1000000000.0\]",
        ),
        (
            "losses.box.ghm.mu=2.0e+9",
            r"box.ghm.mu is 2000000000.0; .* in \[1e-15, 1000000000.0\]",
        ),
        (f"{CLASS}.distributional_ranking.margin=.inf", "is inf; it must be finite"),
        (f"{CLASS}.distributional_ranking.margin=.nan", "is nan; it must be finite"),
        ("losses.focal_loss_alpha=1.5", r"alpha is 1.5; it must be in \[0, 1\]"),
        ("losses.focal_loss_gamma=101", r"gamma is 101; .* in \[0, 100"),
        (f"{CLASS}.ghm.momentum=1.0", r"momentum is 1.0; it must be in \[0, 1\)"),
        (f"{CLASS}.ghm.momentum=-0.1", r"momentum is -0.1; it must be in \[0, 1\)"),
        (f"{CLASS}.ghm.divisor=mean", "is 'mean'; choose non_empty, all"),
        ("losses.box.ghm.num_bins=-1", r"losses.box.ghm.num_bins is -1; .* in \[1, "),
        ("losses.box.ghm.divisor=mean", "losses.box.ghm.divisor is 'mean'; choose"),
        (f"{CLASS}.average_precision.delta=0", "delta is 0; it must be > 0"),
        (f"{CLASS}.distributional_ranking.scale=0", "scale is 0; it must be > 0"),
        (f"{CLASS}.distributional_ranking.smoothing=-1", "smoothing is -1; .* > 0"),
        (f"{CLASS}.distributional_ranking.positive_temperature=0", "is 0; .* > 0"),
        (f"{CLASS}.distributional_ranking.negative_temperature=0", "is 0; .* > 0"),
        (
            f"{CLASS}.objectness.updates=0",
            r"objectness.updates is 0; it must be in \[1, ",
        ),
        (f"{CLASS}.objectness.objectness=0", "objectness.objectness is 0; .* > 0"),
        (f"{CLASS}.objectness.classification=0", "classification is 0; .* > 0"),
        ("losses.normalizer=positives", "is 'positives'; choose tfm, reference"),
    ],
)
def test_ranges_of_retinanet(setting, message):
    assert re.search(message, refusal(setting))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.rpn_sampler.negatives=hard", "choose random, iou_balanced, all"),
        ("model.rpn_sampler.num_bins=0", r"rpn_sampler.num_bins is 0; .* in \[1, "),
        ("losses.box.type=ghm_r", "is 'ghm_r'; choose huber, smooth_l1"),
        ("losses.normalizer=mean", "is 'mean'; choose tfm, reference, positives"),
        (
            "model.roi_sampler.score_ranked.k=-1",
            "roi_sampler.score_ranked.k is -1; .* >= 0",
        ),
        ("model.roi_sampler.score_ranked.iou_threshold=0", "iou_threshold is 0"),
        ("model.roi_sampler.positives=all", "roi_sampler: .* 'all' together"),
        ("model.roi_sampler.without_quota=true", "without_quota goes with"),
    ],
)
def test_ranges_of_faster_rcnn(setting, message):
    assert re.search(message, refusal(setting, name=FASTER))


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_importance_may_be_the_same_for_all(name):
    accept("losses.isr.k=0", "losses.carl.k=0", name=name)
    if name == FASTER:
        accept("model.roi_sampler.score_ranked.k=0", name=name)


def test_class_names_that_are_set_by_hand_are_counted():
    text = refusal("class_names=[background,a]")
    assert "as many names as task.model.num_classes, 3" in text
    accept("class_names=[background,a,b]")


def test_rois_are_cut_from_levels_that_there_are():
    coarsest = "model.roi_aligner.max_level=1"
    accept(coarsest, name=FASTER)  # Model Garden's form does not look at it
    form = "model.roi_aligner.form=reference"
    accept(form, "model.roi_aligner.max_level=2", name=FASTER)
    text = refusal(form, coarsest, name=FASTER)
    assert "max_level is 1, below task.model.min_level, 2" in text


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_a_decoder_gives_the_levels(name):
    spinenet = ("model.backbone.type=spinenet", "model.frozen_stages=0")
    plain, decoder = "model.neck.type=none", "model.decoder.type={}".format
    levels = ("model.min_level=3", "model.max_level=7")
    accept(*spinenet, plain, *levels, decoder("identity"), name=name)
    text = refusal(*spinenet, *levels, decoder("identity"), name=name)
    assert "it goes with a spinenet and neck 'none'" in text
    assert "backbone.type 'resnet'" in refusal(plain, decoder("identity"), name=name)
    other = ("model.min_level=3", "model.max_level=6")
    text = refusal(*spinenet, plain, *other, decoder("identity"), name=name)
    assert "must be those of task.model.backbone.spinenet" in text
    assert "one level only" in refusal(decoder("aspp"), name=name)
    accept(*levels, decoder("nasfpn"), name=name)
    assert "the levels 3 to 7" in refusal(*other, decoder("nasfpn"), name=name)


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_a_neck_has_levels(name):
    levels = ("model.min_level=5", "model.max_level=5", "model.neck.refine_level=5")
    text = refusal(*levels, "model.neck.type=balanced_feature_pyramid", name=name)
    assert "needs two levels or more" in text
    accept(*levels, "model.neck.type=none", name=name)


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_a_prior_is_given_or_counted(name):
    given, counted = "model.prior.value=0.001", "model.prior.from_data=true"
    accept(given, name=name)
    accept(counted, name=name)
    assert "value is 0.001 and from_data is true" in refusal(given, counted, name=name)


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_a_prior_is_counted_in_record_files(name):
    tfds = ("train_data.input_path=", "train_data.tfds_name=coco")
    accept(*tfds, name=name)
    accept(*tfds, "model.prior.value=0.001", name=name)
    text = refusal(*tfds, "model.prior.from_data=true", name=name)
    assert "from_data is true, but task.train_data.tfds_name is set" in text


@pytest.mark.parametrize("kind", ["global_prior", "class_prior"])
def test_thresholds_come_from_the_data(kind):
    threshold = f"model.prior.score_threshold={kind}"
    counted = "model.prior.from_data=true"
    only = "model.detection_generator.pre_nms_score_threshold=0.0"
    accept(threshold, counted, only)
    assert "is 0.05, which would act first" in refusal(threshold, counted)
    text = refusal(threshold, only)
    assert "from_data is false: the thresholds come from the data" in text
    text = refusal(threshold, counted, only, name=FASTER)
    assert f"score_threshold is '{kind}'; it is for RetinaNet" in text


@pytest.mark.parametrize("name", [FASTER, RETINA])
def test_carl_needs_a_loss_per_box(name):
    carl = "losses.carl.weight=1.0"
    for box in ("smooth_l1", "l1", "balanced_l1"):
        accept(carl, f"losses.box.type={box}", name=name)
    text = refusal(carl, "losses.box.type=huber", name=name)
    assert "box.type is 'huber': CARL weighs a box loss per box" in text
    if name == RETINA:
        assert "CARL weighs" in refusal(carl, "losses.box.type=ghm_r")
        accept(carl, "losses.normalizer=tfm")
    else:
        assert "CARL needs 'reference'" in refusal(
            carl, "losses.normalizer=tfm", name=name
        )
        accept(carl, "losses.normalizer=positives", name=name)


def test_residual_objectness_is_a_head_and_a_loss():
    accept(*RESIDUAL)
    for setting in RESIDUAL:
        assert "residual objectness needs both, the head and its loss" in refusal(
            setting
        )
    accept("model.objectness.type=residual", name=FASTER)


def test_residual_objectness_has_plain_convolutions():
    separable = "model.head.use_separable_conv=true"
    accept(separable)
    assert "head.use_separable_conv off" in refusal(*RESIDUAL, separable)


def test_residual_objectness_has_priors_of_its_own():
    for prior in ("model.prior.value=0.01", "model.prior.from_data=true"):
        assert "with residual objectness leave it alone" in refusal(*RESIDUAL, prior)
        # In a two-stage detector the prior is the RPN's.
        accept("model.objectness.type=residual", prior, name=FASTER)


@pytest.mark.parametrize(
    "setting",
    [
        "losses.frcnn_class_use_binary_cross_entropy=true",
        "model.detection_generator.use_sigmoid_probability=true",
    ],
)
def test_residual_objectness_of_an_rcnn_is_a_softmax(setting):
    stock = (*STOCK_SAMPLER, "losses.normalizer=tfm")
    accept(*stock, setting, name=FASTER)
    text = refusal(*stock, setting, "model.objectness.type=residual", name=FASTER)
    assert "logarithms of probabilities" in text


@pytest.mark.parametrize("kind", class_loss_config.CLASS_LOSSES)
def test_isr_weighs_losses_that_are_sums(kind):
    settings = ["losses.isr.enabled=true", f"{CLASS}.type={kind}"]
    if kind == "residual_objectness":
        settings.append("model.objectness.type=residual")
    if kind in ("focal", "cross_entropy"):
        accept(*settings)
    else:
        assert "must be focal or cross_entropy" in refusal(*settings)


@pytest.mark.parametrize(
    "other",
    [
        ("train_data.input_path=", "train_data.tfds_name=coco"),
        ("train_data.decoder.type=label_map_decoder",),
    ],
)
def test_isr_of_retinanet_reads_records(other):
    accept(*other)
    assert "tells objects apart in record files" in refusal(
        "losses.isr.enabled=true", *other
    )
    # The R-CNN's sampler tells objects apart, wherever they come from.
    accept("losses.isr.enabled=true", *other, name=FASTER)


def test_a_sampler_of_model_garden_takes_empty_rois_for_background():
    stock = STOCK_SAMPLER[:-1]
    text = refusal(*stock, "model.clip_to_image=true", name=FASTER)
    assert "task.model.clip_to_image is true with Model Garden's RoI sampler" in text
    accept(*STOCK_SAMPLER, name=FASTER)
    accept("model.clip_to_image=true", *stock[:2], name=FASTER)


def test_isr_needs_a_sampler_that_tells_objects_apart():
    isr = "losses.isr.enabled=true"
    assert "does not tell objects apart" in refusal(isr, *STOCK_SAMPLER, name=FASTER)
    accept(
        isr, *STOCK_SAMPLER[:2], "model.roi_sampler.ignore_padding=true", name=FASTER
    )


@pytest.mark.parametrize(
    "setting", ["losses.isr.enabled=true", "model.roi_sampler.negatives=score_ranked"]
)
def test_weights_need_a_loss_that_takes_them(setting):
    text = refusal(setting, "losses.normalizer=tfm", name=FASTER)
    assert "takes no weights, which ISR sets" in text
    for normalizer in ("reference", "positives"):
        accept(setting, f"losses.normalizer={normalizer}", name=FASTER)


@pytest.mark.parametrize(
    "settings",
    [
        ("model.roi_sampler.positives=hardest",),
        ("model.roi_sampler.negatives=hardest",),
        ("model.roi_sampler.negatives=score_ranked",),
        ("losses.isr.enabled=true",),
    ],
)
def test_outer_boxes(settings):
    outer = "model.outer_boxes_scale=1.2"
    accept(outer, name=FASTER)
    accept(*settings, name=FASTER)
    assert "do not know outer boxes" in refusal(*settings, outer, name=FASTER)


def test_no_bound_on_negatives_that_are_not_drawn():
    every = ("model.rpn_sampler.negatives=all", "model.roi_sampler.positives=all",
             "model.roi_sampler.negatives=all")  # fmt: skip
    every = (*every, "losses.normalizer=positives")
    text = refusal(*every, "model.rpn_sampler.neg_pos_ub=5.0", name=FASTER)
    assert "neg_pos_ub is 5.0, a bound on negatives, but" in text
    accept(*every, "model.rpn_sampler.neg_pos_ub=0.0", name=FASTER)
    accept("model.rpn_sampler.negatives=iou_balanced", name=FASTER)


def test_without_sampling_the_divisor_must_not_be_what_was_sampled():
    rpn, rois = "model.rpn_sampler.negatives=all", (
        "model.roi_sampler.positives=all", "model.roi_sampler.negatives=all"
    )  # fmt: skip
    unbound = "model.rpn_sampler.neg_pos_ub=0.0"
    text = refusal(rpn, unbound, "losses.normalizer=tfm", name=FASTER)
    assert "by the number of RoIs" in text
    text = refusal(*rois, "losses.normalizer=reference", name=FASTER)
    assert "would all but vanish" in text
    accept(rpn, *rois, unbound, "losses.normalizer=positives", name=FASTER)


@pytest.mark.parametrize(
    "setting",
    [
        "losses.normalizer=reference",
        "losses.box.type=l1",
        f"{CLASS}.type=ghm_c",
        f"{CLASS}.weight=2.0",
        "losses.guided.enabled=true",
        "losses.isr.enabled=true",
    ],
)
def test_attribute_heads_go_with_model_gardens_losses(setting):
    """Their loss is part of those; it would be left out without a word."""
    params = experiment("losses.normalizer=tfm", "losses.box.type=huber", name=RETINA)
    heads = [{"name": "speed", "type": "regression", "size": 1}]
    params.task.model.head.override({"attribute_heads": heads})
    resolve(params)
    override(params, parse_override(f"task.{setting}"), setting)
    with pytest.raises(UserError, match="attribute_heads: their loss goes with"):
        resolve(params)


def test_losses_that_are_model_gardens():
    losses = loss_config.RetinaNetLosses()
    assert losses.is_stock
    for change in (
        {"normalizer": "reference"},
        {"box": {"type": "ghm_r"}},
        {"classification": {"type": "cross_entropy"}},
        {"classification": {"weight": 2.0}},
        {"isr": {"enabled": True}},
        {"carl": {"weight": 1.0}},
        {"guided": {"enabled": True}},
    ):
        assert not losses.replace(**change).is_stock


def test_every_setting_of_the_sampler_reaches_the_rule():
    sampler = sampler_config.ROISampler(
        num_sampled_rois=33,
        foreground_fraction=0.3,
        foreground_iou_threshold=0.6,
        background_iou_high_threshold=0.4,
        background_iou_low_threshold=0.1,
        positives="hardest",
        negatives="hardest",
        num_bins=5,
        without_quota=True,
        score_ranked=sampler_config.ScoreRanked(
            k=0.7, bias=0.1, score_threshold=0.2, iou_threshold=0.8
        ),
    )
    rule = sampler.rule
    for name in vars(rule).keys() & vars(sampler).keys():
        assert getattr(rule, name) == getattr(sampler, name), name
    ranked = rule.k, rule.bias, rule.score_threshold, rule.group_iou_threshold
    assert ranked == (0.7, 0.1, 0.2, 0.8)
    assert sampler.contradiction == ""
    assert "together or not at all" in sampler.replace(positives="all").contradiction
