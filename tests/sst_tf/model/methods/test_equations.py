# SPDX-License-Identifier: Apache-2.0
"""The forward pass of each method against a reading of its equations in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from sst_tf.model.methods.oslsm import hashing_matrix
from tests.sst_tf.model.methods import reading
from tests.sst_tf.model.methods.conftest import make

SIZE = (33, 33)


def check(head, supports, photos, summary, answer):
    """`summary(features, mask)` and `answer(features, summary)` of one photo, against the head."""
    features, masks = supports[0].numpy(), supports[1].numpy()
    got = head.summarise(supports[0], supports[1]).numpy()
    expected = np.stack([summary(f, m) for f, m in zip(features, masks, strict=True)])
    assert got.shape == (3, head.summary_size)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
    query = photos(head)
    logit = head.segment(tf.constant(query), tf.constant(got), SIZE).numpy()
    expected = np.stack([answer(q, s) for q, s in zip(query, got.astype(float), strict=True)])
    np.testing.assert_allclose(logit, expected, rtol=1e-3, atol=1e-3)
    assert logit.std() > 1e-2
    return query, got


def test_sst(supports, photos):
    head = make("sst", product=True)

    def answer(features, prototype):
        def unit(x):
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3)
        one, other = unit(features), np.zeros_like(features) + unit(prototype)
        maps = reading.convolve(reading.convolve(
            np.concatenate([one, other, one * other], -1), head.comparator.first),
            head.comparator.second)
        return reading.enlarged(reading.decode(head.decoder, maps), SIZE)

    check(head, supports, photos, lambda f, m: reading.average(f, m == 1), answer)


def test_panet(supports, photos):
    head = make("panet")

    def summary(features, mask):
        return np.concatenate([reading.average(features, mask == 1),
                               reading.average(features, mask == 0)])

    def answer(features, prototypes):
        distances = np.stack([20 * reading.cosine(features, prototypes[6:]),
                              20 * reading.cosine(features, prototypes[:6])], -1)
        probability = np.exp(distances) / np.exp(distances).sum(-1, keepdims=True)  # Eq. 3
        return reading.enlarged(np.log(probability[..., 1] / probability[..., 0]), SIZE)

    query, got = check(head, supports, photos, summary, answer)
    # Shots: under averaged prototypes.
    together = head.segment_shots(tf.constant(query[:1]), tf.constant(got[None]),
                                  tf.constant([[0.1, 0.2, 0.3]]), SIZE)[0]
    np.testing.assert_allclose(together, answer(query[0], got.mean(0)), rtol=1e-3, atol=1e-3)


def test_panet_aligns_both_ways(supports, photos):
    """Eq. 6, 7: the query under its predicted mask segments the supports."""
    head = make("panet")
    support, mask = supports[0].numpy(), supports[1].numpy()
    query, logit = photos(head), np.full((3, *SIZE), -1.0, np.float32)
    logit[[0, 2], 5:20, 8:30] = 2.0  # in the second query nothing is found
    truth = np.zeros((3, *SIZE), np.uint8)
    truth[:2, 3:9] = 1  # and the third does not show the class
    expected = []
    for shot in (0, 1):
        found, behind = (reading.average(query[0], part) for part in (logit[0] > 0, logit[0] <= 0))
        back = 20 * (reading.cosine(support[shot], found) - reading.cosine(support[shot], behind))
        expected.append(reading.cross_entropy(reading.enlarged(back, SIZE), mask[shot]))
    pairs = [0, 1], [1, 2], [0, 2]
    loss = head.own_loss(tf.constant(np.stack([support[pair] for pair in pairs])),
                         tf.constant(np.stack([mask[pair] for pair in pairs])),
                         tf.constant(query), tf.constant(truth), tf.constant(logit))
    np.testing.assert_allclose(loss, [np.mean(expected), 0, 0], rtol=1e-3)
    assert loss[0] > 0.1


def test_sgone(supports, photos):
    head = make("sgone")

    def summary(features, mask):
        return reading.average(reading.convolve(features, head.guidance), mask == 1)

    def answer(features, vector):
        similarity = reading.cosine(reading.convolve(features, head.guidance), vector)
        guided = reading.convolve(features, head.segmentation) * similarity[..., None]
        maps = reading.convolve(reading.convolve(guided, head.fused), head.classify)
        return reading.enlarged(maps[..., 0], SIZE)

    query, got = check(head, supports, photos, summary, answer)
    together = head.segment_shots(tf.constant(query[:1]), tf.constant(got[None]),
                                  tf.constant([[0.1, 0.2, 0.3]]), SIZE)[0]
    np.testing.assert_allclose(together, answer(query[0], got.mean(0)), rtol=1e-3, atol=1e-3)


def test_fwb(supports, photos):
    """Relevance, experts by finite differences of the loss, their weighted answers."""
    head = make("fwb", experts=3)

    def one(features, vector, relevance):
        similarity = reading.cosine(features * relevance * 6**0.5, vector * relevance * 6**0.5)
        joint = reading.convolve(np.concatenate([features, similarity[..., None]], -1), head.joint)
        return reading.enlarged(reading.decode(head.decoder, joint), SIZE)

    def summary(features, mask):
        features = features.astype(float)
        vector = reading.average(features, mask == 1)
        phi = vector - reading.average(features, mask == 0)
        relevance = phi / np.linalg.norm(phi)
        vectors, scores = [vector], [reading.iou(one(features, vector, relevance), mask)]
        for _ in range(2):
            slope = np.array([(reading.cross_entropy(one(features, vector + d, relevance), mask)
                      - reading.cross_entropy(one(features, vector - d, relevance), mask)) / 2e-5
                     for d in 1e-5 * np.eye(6)])
            vector = vector - 0.1 * np.linalg.norm(vector) * slope / np.linalg.norm(slope)
            vectors.append(vector)
            scores.append(reading.iou(one(features, vector, relevance), mask))
        return np.concatenate([*vectors, relevance, scores])

    def answer(features, parts):
        scores = parts[24:] / parts[24:].sum() if parts[24:].any() else np.full(3, 1 / 3)
        mean = sum(w * reading.sigmoid(one(features, v, parts[18:24]))
                   for w, v in zip(scores, parts[:18].reshape(3, 6), strict=True))
        return np.log(mean) - np.log1p(-mean)

    query, got = check(head, supports, photos, summary, answer)
    assert np.abs(got[:, :6] - got[:, 12:18]).max() > 0.05  # the experts differ
    together = head.segment_shots(tf.constant(query[:1]), tf.constant(got[None]),
                                  tf.constant([[0.1, 0.2, 0.3]]), SIZE)[0]
    np.testing.assert_allclose(together, answer(query[0], got.mean(0)), rtol=1e-3, atol=1e-3)
    # In training the first expert alone.
    plain = head.summarise(*supports, training=True).numpy()
    np.testing.assert_allclose(plain[:, :6], got[:, :6], rtol=1e-5)
    np.testing.assert_allclose(
        head.segment(tf.constant(query), tf.constant(plain), SIZE, training=True)[0],
        one(query[0].astype(float), got[0, :6], got[0, 18:24]), rtol=1e-3, atol=1e-3)


def test_canet(supports, photos):
    head = make("canet", rounds=2)

    def compared(features, vector):
        beside = np.concatenate([features, np.zeros_like(features) + vector], -1)
        return beside, reading.convolve(beside, head.compare)

    def refined(maps):
        history = np.zeros((5, 5, 1))
        for _ in range(3):  # the first answer and two refinements
            correction = reading.convolve(reading.convolve(
                np.concatenate([maps, history], -1), head.history_first), head.history_second)
            logit = reading.decode(head.decoder, np.maximum(maps + correction, 0))
            history = reading.sigmoid(logit)[..., None]
        return reading.enlarged(logit, SIZE)

    query, got = check(head, supports, photos, lambda f, m: reading.average(f, m == 1),
                       lambda f, s: refined(compared(f, s)[1]))
    # Shots: comparisons weighted by a softmax over their attention.
    maps, levels = [], []
    for vector in got:
        beside, one = compared(query[0], vector)
        padded = np.pad(reading.convolve(beside, head.attention_first), ((1, 1), (1, 1), (0, 0)))
        largest = np.max([padded[i:i + 5, j:j + 5] for i in range(3) for j in range(3)], 0)
        maps.append(one)
        levels.append(reading.convolve(largest, head.attention_second).mean())
    attention = np.exp(levels) / np.exp(levels).sum()
    assert attention.std() > 1e-2
    together = head.segment_shots(tf.constant(query[:1]), tf.constant(got[None]),
                                  tf.constant([[0.1, 0.2, 0.3]]), SIZE)[0]
    np.testing.assert_allclose(together, refined(np.tensordot(attention, maps, 1)), rtol=1e-3,
                               atol=1e-3)


def test_canet_trains_with_a_history_in_some_episodes(supports):
    head = make("canet")
    features, summary = tf.repeat(supports[0][:1], 200, 0), head.summarise(*supports)[:1]
    logit = head.segment(features, tf.repeat(summary, 200, 0), (5, 5), training=True).numpy()
    kinds, counts = np.unique(logit[:, 2, 2].round(4), return_counts=True)
    assert len(kinds) == 2 and 0.6 < counts.max() / 200 < 0.8


def test_oslsm(supports, photos):
    head = make("oslsm")

    def summary(features, mask):
        share = reading.weights(mask == 1, 5, 5)[..., None]
        maps = reading.convolve(reading.convolve(features * share, head.condition_first),
                                head.condition_second)
        short = reading.average(maps, mask == 1) @ head.short.kernel.numpy()[0, 0]
        return (short + head.short.bias.numpy()) @ head.hashing

    def answer(features, parts):
        products = reading.convolve(features, head.segmentation) @ parts[:6] + parts[6]
        return reading.enlarged(products, SIZE)

    query, got = check(head, supports, photos, summary, answer)
    together = head.segment_shots(tf.constant(query[:1]), tf.constant(got[None]),
                                  tf.constant([[0.1, 0.2, 0.3]]), SIZE)[0]
    np.testing.assert_allclose(together, np.max([answer(query[0], s) for s in got], 0), rtol=1e-3,
                               atol=1e-3)


@pytest.mark.parametrize("size", [7, 65])
def test_weight_hashing_takes_one_number_for_each_weight(size):
    matrix = hashing_matrix(size // 4, size)
    np.testing.assert_array_equal(np.abs(matrix).sum(0), np.ones(size))
    np.testing.assert_array_equal(matrix, hashing_matrix(size // 4, size))  # drawn once for all
    assert {-1.0, 1.0} <= set(np.unique(matrix))
