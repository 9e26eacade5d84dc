# SPDX-License-Identifier: Apache-2.0
"""Is the class in the photo at all? A score for each answer, and a threshold from base classes.

The score is the mean probability of a photo's highest 5 % of pixels times the squared cosine
between what was found there and what was marked (`Inference.agreement`). The threshold is set on
base classes: episodes whose query shows the class against episodes whose query does not.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from pipelines.sampler import Episode, EpisodeSampler
from sst_tf.evaluation.metrics import BINS
from sst_tf.model.found import TOP

KIND = "highest 5 % of pixels, agreement squared"  # of several scores the best on base classes


def score(histogram: np.ndarray, agreement: np.ndarray) -> np.ndarray:
    """Presence score of answers, [...] in 0..1.

    Args:
        histogram: [..., BINS + 1] pixels by floor(probability * BINS).
        agreement: [...] of `Inference.agreement`.
    """
    levels = np.arange(BINS + 1) / BINS
    top = histogram.sum(-1, keepdims=True) * TOP  # pixels that count
    above = np.cumsum(histogram[..., ::-1], -1)[..., ::-1] - histogram  # pixels in higher bins
    taken = np.clip(top - above, 0, histogram)
    highest = (taken * levels).sum(-1) / np.maximum(top[..., 0], 1e-9)
    return highest * np.maximum(agreement, 0) ** 2


def score_map(probability: np.ndarray, agreement: float) -> float:
    """Presence score of one probability map [H, W], see `score`."""
    bins = np.floor(probability.astype(np.float64) * BINS + 1e-9).astype(np.int64)
    return float(score(np.bincount(bins.ravel(), minlength=BINS + 1), np.asarray(agreement)))


def absent_episodes(sampler: EpisodeSampler, count: int,
                    lacks: Callable[[str, int], bool]) -> list[Episode]:
    """Up to `count` episodes whose query holds no pixel of the supports' class.

    Args:
        sampler: of episodes with `mismatched=True`.
        lacks: whether a photo is known to show no pixel of a class, as `RunData.lacks`. The pairs
            that the sampler draws from will not do: a filter of pairs leaves out small objects.
    """
    found = []
    for episode in sampler.take(8 * count):
        if lacks(episode.query, episode.support_class_id):
            found.append(episode)
            if len(found) == count:
                break
    return found


def best_threshold(present: np.ndarray, absent: np.ndarray) -> float:
    """The score that tells best: highest mean of both rates of right answers."""
    candidates = np.unique(np.concatenate([present, absent]))
    right = [(np.mean(present >= t) + np.mean(absent < t)) / 2 for t in candidates]
    return float(candidates[int(np.argmax(right))])


def rates(present: np.ndarray, absent: np.ndarray, threshold: float) -> dict:
    """What a threshold does: shares of photos answered, and the area under the ROC curve.

    Args:
        present, absent: scores of photos with the class and without it, [n] and [m].

    The area is the share of the n x m pairs whose photo with the class scores higher; a tie counts
    one half (Mann and Whitney, 1947).
    """
    ranks = rankdata(np.concatenate([present, absent]))
    n, m = len(present), len(absent)
    return {"answered_where_present": float(np.mean(present >= threshold)),
            "answered_where_absent": float(np.mean(absent >= threshold)),
            "auc": float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m)),
            "present_episodes": n, "absent_episodes": m}
