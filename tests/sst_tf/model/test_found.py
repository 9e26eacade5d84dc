# SPDX-License-Identifier: Apache-2.0
"""A second look: what was found joins what was marked."""

import numpy as np
import pytest
import tensorflow as tf

from sst_tf.model.found import found_mask, look, mixed
from sst_tf.model.layers import foreground_average
from tests.sst_tf.conftest import build, random_episode

SIDE = (33, 33)


@pytest.fixture(scope="module")
def asked():
    """A head, features and prototypes [2, 1, C] whose answers differ from place to place."""
    model = build()
    kernel = model.head.decoder.classify.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, (1, 2)))
    support, query = model.encode(random_episode(batch=2))
    return model.head, query, support[:, None, 2, 3], tf.ones((2, 1))


def test_it_is_an_answer_under_the_mixture(asked):
    """A small reading in NumPy, from the first answer on."""
    head, features, prototypes, scores = asked
    first = tf.sigmoid(look(*asked, SIDE)).numpy()
    found = np.zeros((2, *SIDE), np.uint8)
    for one, mask in zip(first, found, strict=True):
        lowest = np.sort(one.ravel())[-int(np.ceil(0.05 * one.size))]
        mask[one >= min(lowest, 0.5)] = 1
    other = foreground_average(features, found).numpy()
    own = prototypes[:, 0].numpy()
    unit = other / np.linalg.norm(other, axis=1, keepdims=True)
    both = 0.7 * own + 0.3 * np.linalg.norm(own, axis=1, keepdims=True) * unit
    expected = head.segment(features, tf.constant(both), SIDE)
    np.testing.assert_allclose(look(*asked, SIDE, again=0.3), expected, atol=1e-4)
    assert np.abs(expected - look(*asked, SIDE)).max() > 1e-3


def test_each_shot_is_mixed_with_what_all_found(asked):
    head, features, prototypes, _ = asked
    several = tf.concat([prototypes, 2 * prototypes[::-1], -prototypes], axis=1)  # [2, 3, C]
    scores = tf.constant([[0.2, 0.5, 0.3], [1.0, 0.0, 0.1]])
    first = head.segment_shots(features, several, scores, SIDE, "average")
    other = foreground_average(features, found_mask(tf.sigmoid(first))).numpy()
    own = several.numpy()
    unit = other / np.linalg.norm(other, axis=1, keepdims=True)
    both = 0.6 * own + 0.4 * np.linalg.norm(own, axis=2, keepdims=True) * unit[:, None]
    expected = head.segment_shots(features, tf.constant(both), scores, SIDE, "average")
    got = look(head, features, several, scores, SIDE, "average", 0.4)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.abs(expected - first).max() > 1e-3


def test_the_mixture_is_as_long_as_what_it_goes_to(asked):
    *_, prototypes, _ = asked
    other = 100 * tf.random.stateless_normal((2, 1, prototypes.shape[-1]), (3, 4))
    np.testing.assert_allclose(tf.norm(mixed(prototypes, other, 0.999), axis=-1),
                               tf.norm(prototypes, axis=-1), rtol=5e-3)
    np.testing.assert_allclose(mixed(prototypes, prototypes[:, :1], 0.4), prototypes, rtol=1e-5)


def test_where_nothing_is_found_the_likeliest_places_count():
    probability = tf.reshape(tf.range(400, dtype=tf.float32) / 1000, (1, 20, 20))
    assert int(tf.reduce_sum(tf.cast(found_mask(probability), tf.int32))) == 20  # 5 %
