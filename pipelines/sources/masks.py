# SPDX-License-Identifier: Apache-2.0
"""From a photo's index mask to the mask of one class."""

from collections.abc import Collection, Sequence
from typing import Any

import cv2
import numpy as np

VOID = 255


class IndexMasks:
    """Class masks of a source whose `read_mask` gives one class number a pixel, [H, W] uint8."""

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W]: 0 background, 1..C one class a pixel, 255 void."""
        raise NotImplementedError

    def class_masks(self, image_id: str) -> dict[int, np.ndarray]:
        """{class id: uint8 [H, W] of 0, 1 and 255} of every class in the photo."""
        index = self.read_mask(image_id)
        found = np.flatnonzero(np.bincount(index.ravel(), minlength=256))
        return {int(c): one_class(index, int(c)) for c in found if c not in (0, VOID)}

    def class_mask(self, image_id: str, class_id: int,
                   ignore_ids: Collection[int] = ()) -> np.ndarray:
        """uint8 [H, W]: 1 the class, 255 void and other classes of `ignore_ids`, else 0."""
        return one_class(self.read_mask(image_id), class_id, ignore_ids)


def one_class(index: np.ndarray, class_id: int, ignore_ids: Collection[int] = ()) -> np.ndarray:
    """[H, W] of class numbers and 255 to uint8 [H, W] of 0, 1 and 255.

    Args:
        ignore_ids: classes whose pixels become 255 (training with `novel_policy: ignore255`).
    """
    mask = (index == class_id).view(np.uint8)
    for hidden in {VOID, *ignore_ids} - {class_id}:
        mask |= cv2.inRange(index, hidden, hidden)  # 255 where it is
    return mask


def merged(class_masks: dict[int, np.ndarray], class_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """One mask of several classes (N ways).

    Args:
        class_masks: {class id: uint8 [H, W] of 0, 1, 255} of a photo, at least one.
        class_ids: the N classes; one that the photo does not show is left out.

    Returns:
        uint8 [H, W]: i + 1 where `class_ids[i]` is (the later one where two overlap), 255 void.
    """
    void = np.logical_or.reduce([mask == VOID for mask in class_masks.values()])
    mask = np.where(void, VOID, 0).astype(np.uint8)
    for way, class_id in enumerate(class_ids, start=1):
        if int(class_id) in class_masks:
            mask[class_masks[int(class_id)] == 1] = way
    return mask


def way_mask(source: Any, image_id: str, class_ids: Sequence[int] | np.ndarray,
             ignore_ids: Collection[int] = ()) -> np.ndarray:
    """`merged` of a source's photo, with what `class_mask` counts as void for one class.

    Args:
        source: a `pipelines.sources.Source`.
        ignore_ids: classes whose pixels become 255 where no way is.
    """
    found, asked = source.class_masks(image_id), {int(one) for one in class_ids}
    if not found:  # no way, but void all the same
        found = {0: source.class_mask(image_id, int(class_ids[0]))}
    mask = merged(found, class_ids)
    for hidden in set(map(int, ignore_ids)) & set(found) - asked:
        mask[(found[hidden] == 1) & (mask == 0)] = VOID
    if getattr(source, "unlabelled", "") == "ignore" and not asked <= source.labels(image_id):
        labelled = np.logical_or.reduce([one != 0 for one in found.values()])
        mask[~labelled] = VOID
    return mask
