# SPDX-License-Identifier: Apache-2.0
"""The model: switches, k shots, round trip, training step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sst_tf.model.fusion import FUSIONS, shot_weights
from sst_tf.model.losses import cross_entropy, hard_iou
from sst_tf.model.segmenter import OptimizerOptions, SSTSegmenter
from tests.sst_tf.conftest import build, losses_of_steps, random_episode


def step(model, episode, rate=0.0):
    """Outer gradients by name and the losses of one training step."""
    model.compile(optimizer=keras.optimizers.SGD(rate))
    with tf.GradientTape() as tape:
        main, auxiliary, answer = model.losses_of(episode, training=True)
        loss = tf.reduce_mean(main)
        if model.auxiliary:
            loss += model.auxiliary * tf.reduce_mean(auxiliary)
    gradients = tape.gradient(loss, model.trainable_variables)
    return float(loss), gradients, answer


def difference(a, b):
    return max(float(tf.reduce_max(tf.abs(x - y))) for x, y in zip(a, b, strict=True))


def test_each_switch_of_table_1_changes_what_it_should():
    episode = random_episode()
    rows = {(s, a): step(build(s, a), episode) for s in (0, 1) for a in (0.0, 1.0)}
    # The auxiliary loss leaves the answer as it is and adds to the loss ...
    for steps in (0, 1):
        np.testing.assert_allclose(rows[steps, 0.0][2].logit, rows[steps, 1.0][2].logit, atol=1e-5)
        assert rows[steps, 1.0][0] > rows[steps, 0.0][0] + 0.1
        assert difference(rows[steps, 0.0][1], rows[steps, 1.0][1]) > 1e-5
    # ... tuning changes the answer.
    assert float(tf.reduce_max(tf.abs(
        rows[0, 1.0][2].logit - rows[1, 1.0][2].logit))) > 1e-5
    # Neither: the self-segmentation is not even computed.
    assert rows[0, 0.0][2].support_logit is None


def test_an_epoch_tells_what_was_measured_alone(eagerly):
    """A support IoU of 0 would be a number of a self-segmentation that there was none of."""
    told = {}
    for auxiliary in (0.0, 1.0):
        model = build(0, auxiliary)
        model.compile(optimizer=keras.optimizers.SGD(0.01))
        told[auxiliary] = set(model.train_step(random_episode()))
    assert told[0.0] == {"loss", "main"}
    assert told[1.0] == {"loss", "main", "auxiliary", "support_iou", "relative_update"}


def test_training_knows_nothing_of_how_a_model_is_asked():
    episode, trained, asked = random_episode(shots=3), [], []
    for fusion, second_look in (("weighted", 0.0), ("average", 0.3), ("maximum", 0.0)):
        model = build()
        model.answer_by(fusion, second_look)
        kernel = model.head.decoder.classify.kernel  # starts small; here answers should differ
        kernel.assign(100 * kernel)
        trained.append(model.losses_of(episode, training=True)[0])
        asked.append(model(episode).logit)
    for loss, logit in zip(trained[1:], asked[1:], strict=True):
        np.testing.assert_array_equal(loss, trained[0])
        assert np.abs(logit - asked[0]).max() > 1e-3


def test_first_and_second_order_train_differently():
    episode = random_episode()
    _, second, _ = step(build(second_order=True), episode)
    _, first, _ = step(build(second_order=False), episode)
    assert difference(first, second) > 1e-6


def test_episodes_of_a_batch_are_independent():
    model, episode = build(), random_episode(batch=3)
    together = model(episode).logit
    for i in range(3):
        alone = model({k: v[i:i + 1] for k, v in episode.items()}).logit
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)


def test_round_trip_is_exact(tmp_path):
    model, episode = build(step_size="learned"), random_episode(shots=2)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.train_step(random_episode())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, SSTSegmenter)
    np.testing.assert_array_equal(model(episode).logit, loaded(episode).logit)
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("second_look", [0.0, 0.3])
def test_tuning_once_equals_the_whole_episode(shots, fusion, second_look):
    model, episode = build(), random_episode(batch=2, shots=shots)
    model.second_look = second_look
    support, query = model.encode(episode)
    tuned = model.inference.tune(support, tf.reshape(episode["support_mask"], (2 * shots, 33, 33)))
    probability = model.inference.segment(query, tf.reshape(tuned.prototype, (2, shots, -1)),
                                          tf.reshape(tuned.score, (2, shots)), (33, 33), fusion,
                                          second_look)
    whole = model(episode, fusion=fusion).logit
    np.testing.assert_allclose(probability, tf.sigmoid(whole), atol=1e-5)


def test_fusion_is_chosen_at_each_call():
    """It once was an attribute that a graph had read when it was traced."""
    model, episode = build(), random_episode(batch=1, shots=3)
    model.head.decoder.classify.kernel.assign(
        tf.random.normal(model.head.decoder.classify.kernel.shape))
    support, query = model.encode(episode)
    tuned = model.inference.tune(support, episode["support_mask"][0])
    answers = [model.inference.segment(query, tuned.prototype[None], tuned.score[None], (33, 33),
                                       fusion).numpy() for fusion in FUSIONS]
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(answers, answers[1:], strict=False))
    assert np.all(answers[2] >= answers[1] - 1e-5)  # the maximum is no less than the average


def test_self_segmentation_shows_what_tuning_scores():
    model, episode = build(), random_episode(batch=3)
    support, mask = model.encode(episode)[0], episode["support_mask"][:, 0]
    own, tuned = (f(support, mask) for f in (model.inference.self_segment, model.inference.tune))
    np.testing.assert_allclose(hard_iou(own.before, mask), tuned.score, atol=1e-6)
    np.testing.assert_allclose(hard_iou(own.after, mask), tuned.score_after, atol=1e-6)
    assert own.step.shape == mask.shape
    assert float(tf.reduce_min(tf.reduce_max(own.step, [1, 2]))) > 0


def test_cached_features_give_the_same_numbers():
    model, episode = build(backbone="resnet18"), random_episode(side=65)
    images = episode.pop("support_image"), episode.pop("query_image")
    direct = model({**episode, "support_image": images[0], "query_image": images[1]}).logit
    cached = model({**episode, "query_features": model.encoder.features(images[1]),
                    "support_features": model.encoder.features(images[0][:, 0])[:, None]}).logit
    np.testing.assert_allclose(cached, direct, atol=1e-5)


def test_all_photos_of_an_episode_lose_the_same_channels():
    model = build(backbone="resnet18", feature_dropout=0.5)
    episode = {"support_features": np.ones((4, 2, 9, 9, 384), np.float32),
               "query_features": np.ones((4, 9, 9, 384), np.float32)}
    seen = []
    model.encoder.embed = lambda features: seen.append(np.asarray(features)) or features
    model.encode(episode, training=True)
    support, query = seen[0].reshape(4, 2, 9, 9, 384), seen[1]
    np.testing.assert_array_equal(support[:, 0], query)
    np.testing.assert_array_equal(support[:, 1], query)
    assert set(np.unique(query)) == {0, 2} and 0.4 < (query == 0).mean() < 0.6
    assert (query == query[:, :1, :1]).all()  # whole channels
    assert len({row[0, 0].tobytes() for row in query}) == 4  # others in each episode
    model.encode(episode)
    assert (seen[3] == 1).all()  # answers lose none


def test_fusion_weights():
    weights = shot_weights(tf.constant([[0.2, 0.6], [0.0, 0.0]]))
    np.testing.assert_allclose(weights, [[0.25, 0.75], [0.5, 0.5]], atol=1e-6)


def test_fusions_agree_on_equal_shots_and_differ_on_others(head):
    rng = np.random.default_rng(0)
    query = tf.constant(rng.random((2, 5, 5, 6)), tf.float32)
    one = tf.constant(rng.random((2, 1, 6)), tf.float32)
    scores = tf.constant([[0.3, 0.5], [0.2, 0.1]])
    same = tf.concat([one, one], 1)
    other = tf.concat([one, tf.constant(rng.random((2, 1, 6)), tf.float32)], 1)
    alone = head.segment(query, one[:, 0], (9, 9))
    answers = []
    for fusion in FUSIONS:
        np.testing.assert_allclose(head.segment_shots(query, same, scores, (9, 9), fusion), alone,
                                   atol=1e-4)
        answers.append(head.segment_shots(query, other, scores, (9, 9), fusion).numpy())
    assert np.abs(answers[0] - answers[1]).max() > 1e-4
    assert np.all(answers[2] >= answers[1] - 1e-4)


def test_weight_decay_is_coupled_and_spares_the_learned_step():
    model = build(step_size="learned")
    model.optimizer_options = OptimizerOptions(weight_decay=0.1)
    kernel = model.head.comparator.first.kernel
    zero = tf.zeros_like(kernel)
    np.testing.assert_allclose(model._adjusted(zero, kernel), 0.1 * kernel.numpy(), rtol=1e-6)
    raw = model.tuner.raw_step
    assert float(model._adjusted(tf.constant(0.0), raw)) == 0.0


def test_the_head_multiplier_spares_the_backbone():
    model = build()
    model.optimizer_options = OptimizerOptions(head_multiplier=10.0)
    inside = model.encoder.backbone.trainable_variables
    for variable in model.trainable_variables:
        adjusted = model._adjusted(tf.ones_like(variable), variable).numpy().flat[0]
        assert adjusted == (1.0 if any(variable is v for v in inside) else 10.0), variable.path


def test_losses_ignore_255_and_balance_by_area():
    logit = tf.constant([[[0.5, -1.0], [2.0, 0.3]]])
    mask = tf.constant([[[1, 0], [0, 255]]], tf.uint8)
    per_pixel = np.log1p(np.exp(logit[0].numpy())) - (mask[0].numpy() == 1) * logit[0].numpy()
    plain = np.mean([per_pixel[0, 0], per_pixel[0, 1], per_pixel[1, 0]])
    balanced = 0.5 * per_pixel[0, 0] + 0.25 * (per_pixel[0, 1] + per_pixel[1, 0])
    np.testing.assert_allclose(cross_entropy(logit, mask), [plain], rtol=1e-5)
    np.testing.assert_allclose(cross_entropy(logit, mask, True), [balanced], rtol=1e-5)
    np.testing.assert_allclose(hard_iou(logit, mask), [0.5])


def test_training_lowers_the_loss():
    losses = losses_of_steps(build(), random_episode(), 30)
    assert losses[-1] < 0.95 * losses[0]  # masks of noise: little can be learnt
