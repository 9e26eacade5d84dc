# SPDX-License-Identifier: Apache-2.0
"""Presence scores, their threshold, and what counts as a photo without the class."""

import numpy as np
import pytest

from sst_tf.config import Config, DataConfig
from sst_tf.data.run_data import open_data
from sst_tf.evaluation import presence


def test_presence_is_the_mean_of_the_highest_pixels():
    probability = np.zeros((10, 10), np.float32)
    probability[0, :5] = [0.9, 0.8, 0.7, 0.6, 0.5]
    assert presence.score_map(probability) == pytest.approx(0.7, abs=0.01)
    probability[5:] = 1.0
    assert presence.score_map(probability) == pytest.approx(1.0)
    assert presence.score_map(np.zeros((4, 4))) == 0


def test_the_threshold_tells_best():
    present, absent = np.array([0.9, 0.8, 0.4]), np.array([0.5, 0.3, 0.2, 0.1])
    threshold = presence.best_threshold(present, absent)
    assert threshold == 0.4 or threshold == 0.8
    rates = presence.rates(present, absent, 0.8)
    assert rates["answered_where_present"] == pytest.approx(2 / 3)
    assert rates["answered_where_absent"] == 0 and rates["auc"] == pytest.approx(11 / 12)


@pytest.mark.parametrize("present, absent, auc", [
    ([0.5, 0.5], [0.5, 0.5, 0.5], 0.5), ([0.4, 0.9], [0.4], 0.75), ([0.2], [0.2, 0.8], 0.25)])
def test_ties_count_one_half(present, absent, auc):
    assert presence.rates(np.array(present), np.array(absent), 0.5)["auc"] == pytest.approx(auc)


@pytest.mark.parametrize("pair_filter", ["none", "oslsm", "area2048"])
def test_absent_queries_hold_no_pixel_of_the_class(pair_filter):
    data = open_data(Config(data=DataConfig(image_size=129, count=200, pair_filter=pair_filter)))
    sampler = data.sampler("train", 1, 0, mismatched=True)
    found = presence.absent_episodes(sampler, 20, data.lacks)
    assert len(found) == 20
    for episode in found:
        assert not (data.source.class_mask(episode.query, episode.support_class_id) == 1).any()
