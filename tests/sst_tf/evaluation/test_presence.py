# SPDX-License-Identifier: Apache-2.0
"""Presence scores, their threshold, and what counts as a photo without the class."""

import numpy as np
import pytest

from sst_tf.config import Config, DataConfig
from sst_tf.data.run_data import open_data
from sst_tf.evaluation import presence
from sst_tf.model.inference import Inference
from sst_tf.model.methods.sst import SST


def test_presence_is_the_mean_of_the_highest_pixels():
    probability = np.zeros((10, 10), np.float32)
    probability[0, :5] = [0.9, 0.8, 0.7, 0.6, 0.5]
    assert presence.score_map(probability, 1.0) == pytest.approx(0.7, abs=0.01)
    probability[5:] = 1.0
    assert presence.score_map(probability, 1.0) == pytest.approx(1.0)
    assert presence.score_map(np.zeros((4, 4)), 1.0) == 0


def test_what_is_unlike_the_marked_object_counts_less():
    probability = np.ones((10, 10), np.float32)
    scores = [presence.score_map(probability, alike) for alike in (1.0, 0.5, 0.0, -1.0)]
    assert scores == pytest.approx([1.0, 0.25, 0.0, 0.0])


def test_agreement_against_numpy():
    """What was found is pooled as a support is; at least the highest 5 % of pixels are found."""
    head, rng = SST(8, product=True), np.random.default_rng(0)
    features = rng.normal(size=(2, 5, 5, 8)).astype(np.float32)
    probability = rng.uniform(0, 0.4, (2, 20, 20)).astype(np.float32)
    probability[0, :8, :8] = 0.9
    prototypes = rng.normal(size=(2, 3, 8)).astype(np.float32)
    inference = Inference(None, None, head)
    found = inference.agreement(features, probability, prototypes)
    for i, alike in enumerate(found.numpy()):
        mask = probability[i] >= (0.5 if i == 0 else np.sort(probability[i].ravel())[-20])
        pooled = head.summarise(features[i:i + 1], mask[None].astype(np.uint8))[0].numpy()
        cosines = [pooled @ p / np.linalg.norm(pooled) / np.linalg.norm(p) for p in prototypes[i]]
        assert mask.sum() == (64 if i == 0 else 20)
        assert alike == pytest.approx(np.mean(cosines), abs=1e-5)


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
    data = open_data(Config(data=DataConfig(image_size=129, count=200, pair_filter=pair_filter,
                                            novel_classes=["disc"])))
    sampler = data.sampler("train", 1, 0, mismatched=True)
    found = presence.absent_episodes(sampler, 20, data.lacks)
    assert len(found) == 20
    for episode in found:
        assert not (data.source.class_mask(episode.query, episode.support_class_id) == 1).any()
