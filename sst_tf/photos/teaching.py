# SPDX-License-Identifier: Apache-2.0
"""What the marked photos of a class say about each other, in numbers and in plain sentences."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sst_tf.model import losses
from sst_tf.model.inference import Inference, TunedSupport

DISAGREES = 0.5  # below this share of the other photos' mean; docs/predict.md says what it catches
HARDLY = 0.3  # IoU below which a class is hardly found again in its own photos


def found_by_others(inference: Inference, features: Sequence[tf.Tensor],
                    masks: Sequence[tf.Tensor], tuned: Sequence[TunedSupport], threshold: float,
                    fusion: str) -> np.ndarray:
    """IoU with which the other marked photos find each one's mark, [K]; NaN for a single photo.

    Args:
        features: R_s [1, h, w, C] of each photo.
        masks: [1, S, S] of 0, 1, 255.
        tuned: of each, `Inference.tune`.
        threshold: probability from which a pixel is foreground.
        fusion: of several shots.
    """
    found = np.full(len(tuned), np.nan, np.float32)
    if len(tuned) == 1:
        return found
    for i, (one, mask) in enumerate(zip(features, masks, strict=True)):
        others = [other for j, other in enumerate(tuned) if j != i]
        probability = inference.segment(
            one, tf.stack([other.prototype[0] for other in others])[None],
            tf.stack([other.score[0] for other in others])[None], tuple(mask.shape[1:]), fusion)
        found[i] = losses.hard_iou(probability - threshold, mask)[0]
    return found


def cells_of(mask: tf.Tensor, features: tf.Tensor) -> float:
    """Area of a mark [1, S, S] in cells of the features [1, h, w, C]."""
    share = np.mean(np.asarray(mask) == 1)
    return float(share * features.shape[1] * features.shape[2])


def advice(names: Sequence[str], cells: np.ndarray, score_after: np.ndarray,
           others: np.ndarray) -> list[str]:
    """Sentences on the photos whose marks may be wrong or too small; [] where all is well.

    Args:
        names: what to call the photos, K of them.
        cells: area of each mark in cells of the features.
        score_after: IoU with which the tuned class finds each mark in its own photo.
        others: `found_by_others`.
    """
    found = []
    for i, name in enumerate(names):
        if cells[i] < 1:
            found.append(f"{name}: the mark is smaller than a cell of the features; crop closer")
        elif score_after[i] < HARDLY:
            found.append(f"{name}: the model hardly finds the mark in its own photo (IoU "
                         f"{score_after[i]:.2f}); mark all of the object, or crop closer")
    if len(names) == 2 and max(others) < HARDLY:
        found.append(f"{names[0]} and {names[1]} do not find each other's marks (IoU "
                     f"{others[1]:.2f} and {others[0]:.2f}); do both show the same class?")
    for i, name in enumerate(names if len(names) > 2 else ()):
        rest = np.delete(others, i).mean()
        if others[i] < DISAGREES * rest:
            found.append(f"{name} disagrees: the other photos find its mark with IoU "
                         f"{others[i]:.2f}, and each other's with {rest:.2f}; look at its mark")
    return found
