# SPDX-License-Identifier: Apache-2.0
"""Marks as a person might draw them, made from true masks, and what they cost."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from pipelines.errors import DataError
from pipelines.reading.transforms import resize_class_mask
from sst_tf.data.feature_store import open_store
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.run_data import open_data
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import bootstrap, metrics, protocol_options
from sst_tf.evaluation.scoring import score
from sst_tf.photos import annotations
from sst_tf.runs.directory import Run


def box(mask: np.ndarray) -> annotations.Box:
    """The object's bounding box."""
    rows, columns = np.nonzero(mask == 1)
    return annotations.Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def scribbles(mask: np.ndarray) -> annotations.Scribbles:
    """A stroke along the inside of each part, and one around the object."""
    inside = (mask == 1).astype(np.uint8)
    depth = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    count, parts = cv2.connectedComponents(inside)
    core = np.zeros(mask.shape, bool)
    for part in range(1, count):
        here = parts == part
        core |= here & (depth >= 0.7 * depth[here].max())
    reach = max(3, round(0.04 * max(mask.shape)))
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return annotations.Scribbles(core, (away > reach) & (away <= reach + 2))


def polygon(mask: np.ndarray) -> annotations.Polygon:
    """Outlines with corners left out up to 1 % of their length."""
    outlines, _ = cv2.findContours((mask == 1).astype(np.uint8), cv2.RETR_EXTERNAL,
                                   cv2.CHAIN_APPROX_NONE)
    parts = [cv2.approxPolyDP(one, 0.01 * cv2.arcLength(one, True), True)[:, 0]
             for one in outlines]
    return annotations.Polygon([part for part in parts if len(part) >= 3])


KINDS = {"mask": None, "polygon": polygon, "box": box, "scribbles": scribbles}


class MarkedBank(PhotoBank):
    """A bank whose supports are marked otherwise than by their true masks.

    Attributes:
        iou: {(photo, class): IoU of the mask made from the mark with the true one}.
    """

    def __init__(self, make, *arguments):
        super().__init__(*arguments)
        self.make, self.iou = make, {}

    def support_mask(self, name: str, class_id: int) -> np.ndarray:
        """The mask that the mark gives, in place of the true one."""
        true = self.source.class_mask(name, class_id)
        try:
            mask, _ = annotations.mask_of(self.make(true), self.source.read_image(name), name)
        except DataError:  # GrabCut found nothing: a person would fall back on the mark itself
            mask = _filled(self.make(true), true)
        counted = true != 255
        both = ((mask == 1) & (true == 1))[counted].sum()
        self.iou[name, class_id] = both / ((mask == 1) | (true == 1))[counted].sum()
        return np.asarray(resize_class_mask(mask, self.size[0], self.resize))


def _filled(mark, true):
    mask = np.zeros(true.shape, np.uint8)
    if isinstance(mark, annotations.Box):
        mask[int(mark.y0):int(mark.y1), int(mark.x0):int(mark.x1)] = 1
    elif isinstance(mark, annotations.Scribbles):
        mask[mark.foreground] = 1
    else:
        mask[true == 1] = 1  # a polygon of a sliver
    return mask


class Cost(NamedTuple):
    """What one kind of mark is worth; scores at the threshold, intervals of 95 % over photos."""

    kind: str
    mask_iou: float  # of the masks made from the marks with the true ones
    miou: float
    interval: list[float]
    difference: float | None  # from exact masks; None of those themselves
    difference_interval: list[float]


def costs(run: Run, shots: int, episodes: int, threshold: int) -> Iterator[Cost]:
    """Score novel classes with supports marked in each of `KINDS`, exact masks first.

    Args:
        threshold: bin of `metrics.BINS`, that of exact masks.
    """
    config, model = run.config(), run.model()
    data = open_data(config, progress=True)
    store = open_store(config, model, data)
    drawn = data.sampler("novel", shots, evaluation_seed(config.evaluate.seed)).take(episodes)
    exact: tuple | None = None
    for kind, make in KINDS.items():
        arguments = (data.source, drawn, config.data.image_size, protocol_options.counting(config),
                     store, config.data.resize)
        bank = MarkedBank(make, *arguments) if make else PhotoBank(*arguments)
        counts = score(model, bank, drawn, config.evaluate.batch).counts["tuned"]
        weights = bootstrap.photo_weights(counts.photos, config.evaluate.resamples)
        at = float(metrics.mean_iou(counts, threshold))
        spread = metrics.mean_iou(counts, threshold, weights)
        own = np.mean(list(bank.iou.values())) if isinstance(bank, MarkedBank) else 1.0
        first, exact = exact is None, exact or (at, spread)
        yield Cost(kind, float(own), at, bootstrap.interval(spread),
                   None if first else at - exact[0], bootstrap.interval(spread - exact[1]))
