"""criteria.dense_ranking: AP and DR loss of a batch, with its settings."""

import dense_batches as batches
import numpy as np
import pytest
import tensorflow as tf
from dense_batches import IGNORED
from tolerances import ELEMENTWISE, REDUCTION, assert_close, tolerance

from libra_tf.criteria.dense_batch import Dense
from libra_tf.criteria.dense_ranking import ranking_loss
from libra_tf.experiments import class_loss_config
from libra_tf.losses.average_precision import average_precision
from libra_tf.losses.distributional_ranking import distributional_ranking

AP, DR = "average_precision", "distributional_ranking"


def config(kind, **settings):
    return class_loss_config.ClassLoss(type=kind, **{kind: settings})


def row(scores, labels):
    """Anchors of a single class; label -1 is ignored, class 0 never used."""
    scores, labels = (np.atleast_2d(x).astype(np.float32) for x in (scores, labels))
    return Dense(
        logits=tf.stack([tf.fill(scores.shape, 99.0), tf.constant(scores)], -1),
        classes=tf.constant(np.where(labels == 1, 1, -1), tf.int32),
        positive=tf.constant(labels == 1),
        valid=tf.constant(labels >= 0),
        boxes=tf.zeros([*scores.shape, 4]),
        box_targets=tf.zeros([*scores.shape, 4]),
        instances=None,
        level_sizes=[scores.shape[1]],
    )


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([2, 0, 1, -0.5, -3], [1, 1, 0, 0, 0], 0.1923077),
        ([3, 0.5, 2, 1, -1, -2, 9], [1, 1, 0, 0, 0, 0, -1], 0.2333333),
        ([[2, 0], [-1, -3]], [[1, 0], [1, 0]], 1 / 6),  # the images are one list
        ([2, 0], [1, 0], 0.0),
        ([2, 0], [0, 0], 0.0),
    ],
)
def test_published_ap_loss(scores, labels, expected):
    loss = ranking_loss(row(scores, labels), config(AP))
    assert_close(loss, expected, of=ELEMENTWISE, scale=1.0)


def test_interpolation_is_a_setting():
    dense = row([-1, 0, 1.5, 0.5], [1, 1, 0, 0])
    assert float(ranking_loss(dense, config(AP))) == pytest.approx(0.5)
    raw = ranking_loss(dense, config(AP, interpolated=False))
    assert float(raw) == pytest.approx(0.5681818)


def test_the_width_of_the_step_is_a_setting():
    """The one negative is below, by more than 0.3 and by less than 1."""
    dense = row([0.5, 0], [1, 0])
    assert float(ranking_loss(dense, config(AP, delta=0.3))) == 0
    assert float(ranking_loss(dense, config(AP))) == pytest.approx(0.25 / 1.25)


def dr_example():
    """Two classes, four anchors, the last one ignored."""
    p = np.array([[0.9, 0.1], [0.3, 0.6], [0.2, 0.05], [0.5, 0.5]])
    logits = np.concatenate([np.full([4, 1], 99.0), np.log(p / (1 - p))], -1)
    dense = row([0, 0, 0, 0], [1, 1, 0, -1])
    return dense._replace(
        logits=tf.constant(logits[None], tf.float32),
        classes=tf.constant([[1, 2, -1, -1]]),
    )


def gradient_of(dense, the_config):
    logits = dense.logits
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = ranking_loss(dense._replace(logits=logits), the_config)
    return float(loss), tape.gradient(loss, logits).numpy()


def test_published_dr_loss():
    attached = [[-0.0696145, -0.0115496], [0.4887921, -0.3414146]]
    attached += [[0.0172698, -0.0052789], [0, 0]]
    loss, gradient = gradient_of(dr_example(), config(DR))
    assert loss == pytest.approx(0.530879047, abs=tolerance(ELEMENTWISE))
    assert_close(gradient[0, :, 1:], attached, of=ELEMENTWISE, scale=1.0)
    assert not np.any(gradient[..., 0])
    detached = [[-0.0841093, 0.0114348], [0.3268446, -0.3027618]]
    detached += [[0.0711498, 0.0032259], [0, 0]]
    same, gradient = gradient_of(dr_example(), config(DR, detach_weights=True))
    assert same == pytest.approx(loss)
    assert_close(gradient[0, :, 1:], detached, of=ELEMENTWISE, scale=1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"positive_temperature": 0.3},
        {"negative_temperature": 0.3},
        {"smoothing": 3.0},
        {"scale": 1.0},
        {"margin": 0.1},
        {"per_image": True},
    ],
)
def test_settings_of_dr_loss_reach_it(settings):
    dense = batches.dense(batches.random_classes())
    found = float(ranking_loss(dense, config(DR, **settings)))
    labels, logits = dense.foreground_labels, dense.foreground_logits
    expected = distributional_ranking(labels, logits, **settings)
    assert found == pytest.approx(float(expected))
    if settings:
        assert found != pytest.approx(float(ranking_loss(dense, config(DR))))


def test_ap_loss_of_several_classes_is_one_list():
    dense = batches.dense(batches.random_classes())
    expected = average_precision(dense.foreground_labels, dense.foreground_logits)
    assert float(ranking_loss(dense, config(AP))) == pytest.approx(float(expected))


@pytest.mark.parametrize("kind", [AP, DR])
@pytest.mark.parametrize("anchors", [[-1, -1], [IGNORED, IGNORED], [1, 2]])
def test_one_kind_of_anchor_only(kind, anchors):
    loss, gradient = gradient_of(batches.dense([anchors]), config(kind))
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradient))
    assert not np.any(gradient[..., 0])


@pytest.mark.parametrize("kind", [AP, DR])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla(kind, jit_compile):
    dense = batches.dense(batches.random_classes())

    def run(logits):
        return ranking_loss(dense._replace(logits=logits), config(kind))

    traced = tf.function(run, jit_compile=jit_compile)
    assert_close(traced(dense.logits), run(dense.logits), of=REDUCTION)
