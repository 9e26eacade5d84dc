# SPDX-License-Identifier: Apache-2.0
"""What every method must be able to do, one of a researcher's own among them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sst_tf.model import methods
from sst_tf.model.fusion import FUSIONS
from sst_tf.model.methods import METHODS
from sst_tf.model.tuner import Tuner
from tests.sst_tf.conftest import build, losses_of_steps, random_episode
from tests.sst_tf.model.methods.conftest import make

UNMOVED = ("attention",)  # by one shot
HEAVY = ("canet", "fwb", "oslsm")  # to trace


def test_eq_11_against_finite_differences(method, supports):
    head, (features, mask) = make(method), supports
    for through in ("both", "prototype"):
        tuner = Tuner(through=through)
        gradient, _ = tuner.gradient(features, features, mask, head)
        rng = np.random.default_rng(1)
        for _ in range(3):
            direction = tf.constant(0.1 * rng.standard_normal(features.shape), tf.float32)

            def loss(step, direction=direction, through=through, tuner=tuner):
                moved = features + step * direction
                query = moved if through == "both" else features
                return tuner.loss(head.self_segment(query, moved, mask), mask).numpy()

            expected = (loss(2e-3) - loss(-2e-3)) / 4e-3
            actual = tf.reduce_sum(gradient * direction, axis=[1, 2, 3]).numpy()
            np.testing.assert_allclose(actual, expected, rtol=0.03, atol=2e-4)
            assert np.abs(actual).max() > 1e-4


def test_a_support_does_not_depend_on_the_others(method, supports):
    head, (features, mask) = make(method), supports
    tuner = Tuner(step_size=0.1, normalize="relative")
    together = tuner(features, mask, head=head)
    assert float(tf.reduce_max(tf.abs(together.prototype - together.untuned_prototype))) > 1e-4
    for i in range(3):
        alone = tuner(features[i:i + 1], mask[i:i + 1], head=head)
        np.testing.assert_allclose(alone.prototype[0], together.prototype[i], atol=1e-4)
        np.testing.assert_allclose(alone.untuned_prototype[0], together.untuned_prototype[i],
                                   atol=1e-4)


def test_equal_shots_answer_as_one(method, supports, photos):
    head = make(method)
    query, one = tf.constant(photos(head)), head.summarise(*supports)
    alone = head.segment(query, one, (9, 9))
    for fusion in FUSIONS:
        together = head.segment_shots(query, tf.stack([one, one], 1),
                                      tf.constant([[0.3, 0.5]] * 3), (9, 9), fusion)
        np.testing.assert_allclose(together, alone, atol=2e-3)


def test_a_graph_takes_any_number_of_shots(method, supports, photos):
    """As the page's graph does."""
    head = make(method)
    query, one = tf.constant(photos(head)), head.summarise(*supports)
    scores = tf.constant([[0.3, 0.5]] * 3)
    for fusion in FUSIONS:
        asked = tf.function(
            lambda summaries, scores, fusion=fusion: head.segment_shots(
                query, summaries, scores, (9, 9), fusion), input_signature=[
                tf.TensorSpec([None, None, one.shape[-1]]), tf.TensorSpec([None, None])])
        two = tf.stack([one, tf.roll(one, 1, axis=0)], 1)
        for count in (1, 2):
            np.testing.assert_allclose(
                asked(two[:, :count], scores[:, :count]),
                head.segment_shots(query, two[:, :count], scores[:, :count], (9, 9), fusion),
                atol=1e-4)


def test_every_variable_is_trained(method):
    """With and without tuner and auxiliary loss, at one shot and at two."""
    for steps, auxiliary, shots in ((0, 0.0, 1), (1, 1.0, 1), (1, 0.0, 2)):
        model = build(steps, auxiliary, method=method)
        model.compile(optimizer=keras.optimizers.SGD(0.05))
        for variable in model.head.trainable_variables:  # layers that start at zero hold others up
            if variable.name == "kernel":
                variable.assign_add(0.05 * tf.random.stateless_normal(variable.shape, (3, 0)))
        before = [tf.identity(v) for v in model.trainable_variables]
        model.train_step(random_episode(shots=shots))  # refuses a variable without a gradient
        for variable, value in zip(model.trainable_variables, before, strict=True):
            moved = float(tf.reduce_max(tf.abs(variable - value)))
            if shots == 2 or not any(name in variable.path for name in UNMOVED):
                assert moved > 0, (steps, auxiliary, shots, variable.path)


@pytest.mark.parametrize("method", [
    pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in METHODS],
    indirect=True)
def test_training_lowers_the_loss(method):
    losses = losses_of_steps(build(0, 0.0, method=method), random_episode(), 25)
    assert np.mean(losses[-3:]) < 0.97 * losses[0]  # masks of noise: little can be learnt


def test_round_trip_is_exact(method, tmp_path):
    model, episode = build(method=method), random_episode(shots=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.head) is METHODS[method]
    np.testing.assert_array_equal(model(episode).logit, loaded(episode).logit)


def test_tuning_once_equals_the_whole_episode(method):
    model, episode = build(method=method), random_episode(batch=2, shots=2)
    support, query = model.encode(episode)
    tuned = model.inference.tune(support, tf.reshape(episode["support_mask"], (4, 33, 33)))
    probability = model.inference.segment(query, tf.reshape(tuned.prototype, (2, 2, -1)),
                                          tf.reshape(tuned.score, (2, 2)), (33, 33))
    np.testing.assert_allclose(probability, tf.sigmoid(model(episode).logit), atol=1e-4)


def test_features_have_the_sign_that_a_method_wants(method):
    model = build(method=method)
    support, _ = model.encode(random_episode())
    assert (float(tf.reduce_min(support)) < 0) == METHODS[method].signed


class Nearest(methods.Head):
    """A method of one's own in its least form."""

    def summarise(self, features, mask, training=False):
        return methods.sst.foreground_average(features, mask)

    def segment(self, features, summary, size, training=False):
        similarity = tf.reduce_sum(features * summary[:, None, None, :], -1)
        return methods.panet.resize_aligned(similarity - 0.5, size)


def test_a_method_of_ones_own_is_summarise_and_segment(monkeypatch):
    monkeypatch.setitem(METHODS, "nearest", Nearest)
    model, episode = build(method="nearest"), random_episode(shots=2)
    model.compile(optimizer=keras.optimizers.SGD(0.01))
    model.train_step(episode)
    tuned = model(episode)
    assert float(tf.reduce_min(tuned.relative_update)) > 0
    answer = model(episode, fusion="maximum").logit
    assert np.all(answer.numpy() >= tuned.logit.numpy() - 1e-4)
