# SPDX-License-Identifier: Apache-2.0
"""IoU accumulator against brute force."""

import numpy as np
import pytest

from pipelines import Episode
from pipelines.errors import DataError
from sst_tf.evaluation import metrics


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    episodes = [Episode(i, int(rng.integers(1, 4)), (f"p{rng.integers(9)}",), f"q{i % 7}", 1)
                for i in range(30)]
    probability = rng.random((30, 12, 11)).astype(np.float32)
    mask = rng.choice([0, 1, 255], (30, 12, 11), p=[0.6, 0.3, 0.1]).astype(np.uint8)
    counts = metrics.Counts.empty(episodes)
    for i in range(30):
        counts.put(i, probability[i], mask[i])
    return counts, probability, mask


@pytest.mark.parametrize("threshold", [1, 25, 50, 90])
def test_mean_iou_equals_brute_force(scored, threshold):
    counts, probability, mask = scored
    by_class = {}
    for p, m, c in zip(probability, mask, counts.class_ids, strict=True):
        inter, union = by_class.get(c, (0, 0))
        for value, truth in zip(p.ravel(), m.ravel(), strict=True):
            if truth == 255:
                continue
            said = float(value) >= threshold / 100
            inter += said and truth == 1
            union += said or truth == 1
        by_class[c] = inter, union
    expected = np.mean([i / u for i, u in by_class.values()])
    assert metrics.mean_iou(counts, threshold) == pytest.approx(expected, abs=1e-9)


def test_summary_counts_foreground_and_background(scored):
    counts, probability, mask = scored
    result = metrics.summary(counts, ("a", "b", "c"))
    said, true, counted = probability >= 0.5, mask == 1, mask != 255
    foreground = (said & true).sum() / ((said | true) & counted).sum()
    background = (~said & ~true & counted).sum() / ((~said | ~true) & counted).sum()
    assert result["fb_iou"] == pytest.approx((foreground + background) / 2)
    assert result["area_ratio"] == pytest.approx((said & counted).sum() / true.sum())
    assert sum(c["episodes"] for c in result["per_class"].values()) == 30


def test_a_right_empty_answer_is_no_failed_episode():
    counts = metrics.Counts.empty([Episode(i, 1, ("s",), f"q{i}", 1) for i in range(2)])
    counts.put(0, np.ones((2, 2)), np.ones((2, 2), np.uint8))
    counts.put(1, np.zeros((2, 2)), np.zeros((2, 2), np.uint8))  # one of two ways is not there
    assert metrics.summary(counts, ("a",))["episode_iou"] == 1


def test_one_half_counts_as_foreground():
    counts = metrics.Counts.empty([Episode(0, 1, ("s",), "q", 1)])
    counts.put(0, np.array([[0.5, 0.4999, 1.0, 0.29]]), np.array([[1, 1, 1, 0]]))
    tp, fp, fn, tn = (v[0] for v in counts.at(metrics.HALF))
    assert (tp, fp, fn, tn) == (2, 0, 1, 1)


def test_best_threshold_is_the_best(scored):
    counts, _, _ = scored
    best = metrics.best_threshold(counts)
    assert metrics.mean_iou(counts, best) == max(metrics.mean_iou(counts, t) for t in range(1, 100))


@pytest.mark.filterwarnings("error")
def test_a_class_without_a_pixel_has_no_iou():
    """Of neither truth nor answer; `miou` leaves it out, so it must not read as 0."""
    counts = metrics.Counts.empty([Episode(i, i + 1, ("s",), f"q{i}", i + 1) for i in range(2)])
    counts.put(0, np.array([[1.0, 1.0, 0.0]]), np.array([[1, 0, 0]]))
    counts.put(1, np.zeros((1, 3)), np.zeros((1, 3), np.uint8))
    found = metrics.summary(counts, ("a", "b"), 30, np.array([[1.0, 1.0], [0.0, 1.0]]))
    assert [one["iou"] for one in found["per_class"].values()] == [0.5, None]
    assert found["miou"] == 0.5
    assert found["miou_interval"] == [0.5, 0.5]  # the second resample lost the only class
    assert np.isnan(metrics.mean_iou(counts, metrics.HALF, np.array([[0.0, 1.0]])))[0]


def test_episodes_without_a_true_pixel_are_told():
    counts = metrics.Counts.empty([Episode(0, 1, ("s",), "q", 1)])
    counts.put(0, np.ones((1, 3)), np.zeros((1, 3), np.uint8))
    with pytest.raises(DataError, match="no query has a counted pixel .*data.image_size"):
        metrics.summary(counts, ("a",))
