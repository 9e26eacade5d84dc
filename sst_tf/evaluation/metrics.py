# SPDX-License-Identifier: Apache-2.0
"""IoU as the field counts it, at every threshold at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.sampler import Episode
from sst_tf.evaluation import bootstrap

BINS = 100  # thresholds 0.00, 0.01, ... 1.00
HALF = BINS // 2


@dataclass
class Counts:
    """Histograms of foreground probability, one episode a row.

    Attributes:
        histogram: [E, 2, BINS + 1] int64; pixels of true background (0) and foreground (1) by
            floor(probability * BINS). Pixels of 255 are in neither.
        class_ids: [E] the class scored.
        photos: per episode the query's name, then the supports'.
    """

    histogram: np.ndarray
    class_ids: np.ndarray
    photos: list[tuple[str, ...]]

    @classmethod
    def empty(cls, episodes: Sequence[Episode]) -> "Counts":
        """Counts of zero for a list of episodes."""
        return cls(np.zeros((len(episodes), 2, BINS + 1), np.int64),
                   np.array([e.class_id for e in episodes]),
                   [(e.query, *e.support) for e in episodes])

    def put(self, row: int, probability: np.ndarray, mask: np.ndarray) -> None:
        """Count one episode: probability [H, W] float in 0..1, mask [H, W] of 0, 1, 255.

        Raises:
            UserError: the answer is no number: weights have grown out of bounds.
        """
        if not np.isfinite(probability).all():
            raise UserError("the model's answer is no number, its weights have grown out of "
                            "bounds; train with a lower optimizer.learning_rate or "
                            "tuner.step_size, or with optimizer.clip_norm 1.0")
        counted = mask != 255
        bins = np.floor(probability[counted].astype(np.float64) * BINS + 1e-9).astype(np.int64)
        flat = np.bincount(bins + (mask[counted] == 1) * (BINS + 1), minlength=2 * (BINS + 1))
        self.histogram[row] = flat.reshape(2, BINS + 1)

    def at(self, threshold_bin: int) -> tuple[np.ndarray, ...]:
        """Per episode at `probability >= threshold_bin / BINS`: (tp, fp, fn, tn), [E] each."""
        positive = self.histogram[:, :, threshold_bin:].sum(-1)
        total = self.histogram.sum(-1)
        fp, tp = positive[:, 0], positive[:, 1]
        return tp, fp, total[:, 1] - tp, total[:, 0] - fp


def class_sums(values: np.ndarray, class_ids: np.ndarray, classes: np.ndarray,
               weights: np.ndarray | None = None) -> np.ndarray:
    """Sums of [E] values over each class's episodes: [C], or [R, C] under weights [R, E]."""
    table = values[:, None] * (class_ids[:, None] == classes[None, :])
    return table.sum(0) if weights is None else weights @ table


def mean_iou(counts: Counts, threshold_bin: int = HALF,
             weights: np.ndarray | None = None) -> np.ndarray:
    """Class-wise accumulated IoU, averaged over classes (paper, 5.1).

    Intersections and unions are summed over all episodes of a class before the division.
    Returns a number, or [R] under weights [R, E]; a class without a pixel in its union, as one
    that a resample lost, is left out of it, and where none is left it is no number.
    """
    tp, fp, fn, _ = counts.at(threshold_bin)
    return pooled_iou(tp, tp + fp + fn, counts.class_ids, weights)


def pooled_iou(inter: np.ndarray, union: np.ndarray, class_ids: np.ndarray,
               weights: np.ndarray | None = None) -> np.ndarray:
    """`mean_iou` of intersections and unions that are counted already, [E] each."""
    classes = np.unique(class_ids)
    inter, union = (class_sums(one, class_ids, classes, weights) for one in (inter, union))
    there = union > 0
    iou = np.divide(inter, union, out=np.zeros(there.shape), where=there)
    count = there.sum(-1)
    return np.where(count > 0, iou.sum(-1) / np.maximum(count, 1), np.nan)


def best_threshold(counts: Counts) -> int:
    """The threshold (a bin) with the highest mean IoU; for base-class episodes only."""
    return int(np.argmax([float(mean_iou(counts, t)) if t else 0.0 for t in range(BINS)]))


def over_runs(counts: Counts, sizes: Sequence[int], chosen_bin: int | None = None) -> dict:
    """mIoU of each of several runs, their mean and standard deviation.

    Args:
        sizes: episodes of each run; the rows of `counts` are run after run.
        chosen_bin: also at this threshold.
    """
    found, ends = {}, np.cumsum(sizes)
    for key, one in (("", HALF), ("_at_chosen", chosen_bin)):
        if one is None:
            continue
        values = [float(mean_iou(Counts(counts.histogram[end - size:end],
                                        counts.class_ids[end - size:end],
                                        counts.photos[end - size:end]), one))
                  for size, end in zip(sizes, ends, strict=True)]
        found |= {f"miou{key}": values, f"mean{key}": float(np.mean(values)),
                  f"sd{key}": float(np.std(values, ddof=1))}
    return found


def _fb_iou(tp, fp, fn, tn):
    """Mean of foreground's and background's IoU, both summed over all episodes."""
    foreground = tp.sum() / max((tp + fp + fn).sum(), 1)
    background = tn.sum() / max((tn + fp + fn).sum(), 1)
    return float((foreground + background) / 2)


def summary(counts: Counts, class_names: Sequence[str], chosen_bin: int | None = None,
            weights: np.ndarray | None = None) -> dict:
    """The `scores` entry of a results file (see `docs/evaluation.md`).

    Raises:
        DataError: no episode has a pixel of its class.
    """
    tp, fp, fn, tn = counts.at(HALF)
    if not (tp + fn).any():  # no answer to them could be right
        raise DataError("no query has a counted pixel of its class at the size that is scored, so "
                        "these episodes measure nothing; use larger objects (data.pair_filter "
                        "area2048) or a larger data.image_size")
    classes = np.unique(counts.class_ids)
    either = tp + fp + fn
    seen = either > 0  # of N ways some are not there, and rightly not answered
    episode = tp[seen] / either[seen]
    per_class = {}
    for class_id in classes:
        rows = counts.class_ids == class_id
        union = either[rows].sum()
        per_class[class_names[class_id - 1]] = {
            "iou": float(tp[rows].sum() / union) if union else None,  # as in `miou`, no score
            "episodes": int(rows.sum()),
            "photos": len({counts.photos[i][0] for i in np.flatnonzero(rows)}),
        }
    result: dict = {
        "miou": float(mean_iou(counts)),
        "fb_iou": _fb_iou(tp, fp, fn, tn),
        "episode_iou": float(episode.mean()) if seen.any() else 0.0,
        "area_ratio": float((tp + fp).sum() / max((tp + fn).sum(), 1)),
        "per_class": per_class,
    }
    if weights is not None:
        result["miou_interval"] = bootstrap.interval(mean_iou(counts, HALF, weights))
    if chosen_bin is not None:
        tp, fp, fn, tn = counts.at(chosen_bin)
        result["threshold"] = {
            "fixed": 0.5, "chosen": chosen_bin / BINS, "chosen_on": "base",
            "miou_at_chosen": float(mean_iou(counts, chosen_bin)),
            "fb_iou_at_chosen": _fb_iou(tp, fp, fn, tn),
            "area_ratio_at_chosen": float((tp + fp).sum() / max((tp + fn).sum(), 1)),
        }
        if weights is not None:
            result["threshold"]["interval"] = bootstrap.interval(
                mean_iou(counts, chosen_bin, weights))
    return result
