# SPDX-License-Identifier: Apache-2.0
"""Intervals over photos."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import Episode
from sst_tf.evaluation import bootstrap, metrics


def test_photos_are_resampled_not_episodes():
    # One photo behind every episode: resampling photos says that nothing is known of the spread
    # over photos (all weights equal), where resampling 50 episodes would claim a narrow interval.
    same = metrics.Counts.empty([Episode(i, 1, ("s",), "q", 1) for i in range(50)])
    weights = bootstrap.photo_weights(same.photos, 200)
    assert np.all(weights == weights[:, :1])
    many = metrics.Counts.empty([Episode(i, 1, (f"s{i}",), f"q{i}", 1) for i in range(50)])
    weights = bootstrap.photo_weights(many.photos, 200)
    assert weights.mean() == pytest.approx(1.0, abs=0.1)
    assert np.any(weights != weights[:, :1])


def test_a_query_counts_times_the_mean_of_its_supports(monkeypatch):
    drawn = SimpleNamespace(multinomial=lambda *_, size: np.array([[2, 0, 1, 1]]))  # a, b, c, d
    monkeypatch.setattr(bootstrap.np.random, "default_rng", lambda seed: drawn)
    photos = [("a", "b", "c"), ("d", "a", "c"), ("b", "a", "a"), ("a", "b", "b")]
    assert bootstrap.photo_weights(photos, 1).tolist() == [[1, 1.5, 0, 0]]


@pytest.mark.filterwarnings("error")
def test_resamples_that_are_no_number_do_not_count():
    assert bootstrap.interval(np.array([np.nan, 1, 1, np.nan])) == [1, 1]
    assert np.isnan(bootstrap.interval(np.array([np.nan]))).all()
