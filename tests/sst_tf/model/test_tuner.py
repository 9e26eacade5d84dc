# SPDX-License-Identifier: Apache-2.0
"""The inner step: Eq. 11 against finite differences, its order, and its independence."""

import numpy as np
import pytest
import tensorflow as tf

from sst_tf.model.tuner import Tuner


def directional(tuner, features, mask, head, direction, through):
    """d L_sup / d R_s along a direction, by central differences in the role(s) concerned."""
    def loss(step):
        moved = features + step * direction
        query = moved if through == "both" else features
        return tuner.loss(head.self_segment(query, moved, mask), mask).numpy()

    step = 2e-3
    return (loss(step) - loss(-step)) / (2 * step)


@pytest.mark.parametrize("loss", ["cross_entropy", "balanced"])
@pytest.mark.parametrize("through", ["both", "prototype"])
def test_eq_11_against_finite_differences(head, supports, through, loss):
    features, mask = supports
    tuner = Tuner(through=through, loss=loss)
    gradient, _ = tuner.gradient(features, features, mask, head)
    rng = np.random.default_rng(1)
    for _ in range(3):
        direction = tf.constant(rng.standard_normal(features.shape), tf.float32) * 0.1
        expected = directional(tuner, features, mask, head, direction, through)
        actual = tf.reduce_sum(gradient * direction, axis=[1, 2, 3]).numpy()
        np.testing.assert_allclose(actual, expected, rtol=0.03, atol=2e-4)
        assert np.abs(actual).max() > 1e-3


def test_the_two_roles_differ(head, supports):
    features, mask = supports
    both, _ = Tuner(through="both").gradient(features, features, mask, head)
    one, _ = Tuner(through="prototype").gradient(features, features, mask, head)
    assert float(tf.reduce_max(tf.abs(both - one))) > 1e-5


@pytest.mark.parametrize("through", ["both", "prototype"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_auxiliary_loss_trains_both_roles_whatever_the_step_takes(head, supports, through,
                                                                      steps):
    """S_sup is the same answer with and without a step, so its outer gradient is, too."""
    features, mask = supports

    def gradient(tuner):
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss = tf.reduce_sum(tuner.loss(tuner(features, mask, head=head).logit, mask))
        return tape.gradient(loss, features)

    np.testing.assert_allclose(gradient(Tuner(steps=steps, through=through)),
                               gradient(Tuner(steps=0)), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [
    {}, {"normalize": "relative"}, {"reduction": "sum"}, {"steps": 2}, {"loss": "balanced"}])
def test_one_support_does_not_depend_on_the_others(head, supports, options):
    features, mask = supports
    tuner = Tuner(**options)
    together = tuner(features, mask, head=head)
    for i in range(3):
        alone = tuner(features[i:i + 1], mask[i:i + 1], head=head)
        np.testing.assert_allclose(alone.features[0], together.features[i], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(alone.logit[0], together.logit[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step_size", [0.1, 0.5])
@pytest.mark.parametrize("normalize", ["relative", "direction"])
def test_relative_step_is_a_share_of_the_features_norm(head, supports, step_size, normalize):
    tuned = Tuner(step_size=step_size, normalize=normalize)(*supports, head=head)
    np.testing.assert_allclose(tuned.relative_update, [step_size] * 3, rtol=1e-4)


def test_only_direction_has_the_outer_gradient_of_what_it_does(head, supports):
    """Finite differences over the last weights, on whose way no ReLU has a corner."""
    features, mask = supports
    weights = head.decoder.classify.trainable_variables
    rng = np.random.default_rng(2)
    moves = [0.1 * np.std(w) * rng.standard_normal(w.shape).astype(np.float32) for w in weights]

    def tuned(normalize):
        tuner = Tuner(step_size=0.3, normalize=normalize)
        return tf.reduce_sum(tuner(features, mask, head=head).prototype ** 2)

    def along(normalize):
        with tf.GradientTape() as tape:
            loss = tuned(normalize)
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        return sum(float(tf.reduce_sum(g * m)) for g, m in zip(gradients, moves, strict=True))

    start = [tf.identity(w) for w in weights]
    ends, step = [], 0.05
    for sign in (1, -1):
        for w, at, move in zip(weights, start, moves, strict=True):
            w.assign(at + sign * step * move)
        ends.append(float(tuned("relative")))
    for w, at in zip(weights, start, strict=True):
        w.assign(at)
    expected = (ends[0] - ends[1]) / (2 * step)
    assert along("direction") == pytest.approx(expected, rel=0.05)
    assert abs(along("relative") - expected) > 0.2 * abs(expected)


def test_no_steps_change_nothing(head, supports):
    tuned = Tuner(steps=0)(*supports, head=head)
    np.testing.assert_array_equal(tuned.features, supports[0])
    np.testing.assert_array_equal(tuned.prototype, tuned.untuned_prototype)
    assert np.all(tuned.relative_update == 0)


def test_a_small_step_lowers_the_loss(head, supports):
    features, mask = supports
    tuner = Tuner(step_size=0.01, normalize="relative")
    tuned = tuner(features, mask, head=head)
    after = head.self_segment(tuned.features, tuned.features, mask)
    assert np.all(tuner.loss(after, mask) < tuner.loss(tuned.logit, mask))


def outer_gradient(head, supports, **options):
    tuner = Tuner(step_size=0.3, normalize="relative", **options)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tuner(*supports, head=head).prototype ** 2)
    return tape.gradient(loss, head.trainable_variables)


def test_first_and_second_order_give_different_outer_gradients(head, supports):
    first = outer_gradient(head, supports, second_order=False)
    second = outer_gradient(head, supports, second_order=True)
    # Through the tuned prototype alone, only the second order reaches the head's weights.
    assert all(g is None for g in first)
    assert any(g is not None and float(tf.reduce_max(tf.abs(g))) > 1e-6 for g in second)


def test_ignored_pixels_do_not_count(head, supports):
    features, mask = supports
    tuner = Tuner()
    changed = tf.where(mask == 255, tf.constant(0, tf.uint8), mask)
    a, b = tuner(features, mask, head=head), tuner(features, changed, head=head)
    assert float(tf.reduce_max(tf.abs(a.features - b.features))) > 0
    np.testing.assert_array_equal(a.untuned_prototype, b.untuned_prototype)


def test_learned_step_is_positive_trained_and_not_decayed(head, supports):
    tuner = Tuner(step_size="learned", initial_step=0.2, normalize="relative")
    assert float(tuner.step_size) == pytest.approx(0.2, rel=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tuner(*supports, head=head).prototype)
    assert float(tf.abs(tape.gradient(loss, tuner.trainable_variables)[0])) > 0
    assert tuner.trainable_variables[0].name != "kernel"  # what weight decay acts on


def test_float32_whatever_the_policy(head, supports):
    features, mask = supports
    tuned = Tuner()(tf.cast(features, tf.float16), mask, head=head)
    assert tuned.prototype.dtype == tf.float32


@pytest.mark.parametrize("normalize", ["relative", "direction"])
def test_an_empty_support_gives_no_nan(head, supports, normalize):
    features, mask = supports
    with tf.GradientTape() as tape:
        tape.watch(features)
        tuned = Tuner(normalize=normalize)(features, tf.zeros_like(mask), head=head)
        loss = tf.reduce_sum(tuned.features) + tf.reduce_sum(tuned.prototype)
    assert np.isfinite(tuned.features.numpy()).all()
    assert np.isfinite(tuned.prototype.numpy()).all()
    assert np.isfinite(tape.gradient(loss, features).numpy()).all()
