# SPDX-License-Identifier: Apache-2.0
"""Masks to outlines, for the formats that hold nothing else."""

import cv2
import numpy as np
from scipy.spatial import cKDTree

TOLERANCE = 1 / 1000  # of the photo's longest side: masks are made at half of that


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Outlines of a mask's parts, int [N, 2] of x, y on the outermost pixels.

    A hole is joined to the outline around it by a seam without width, as one polygon has no hole.
    Parts of less than three corners are lost.

    Args:
        mask: bool [H, W].
    """
    found, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    tolerance = TOLERANCE * max(mask.shape)
    parts = []
    for number, contour in enumerate(found):
        if tree[0, number, 3] < 0:  # no parent: it is no hole
            holes = [found[hole][:, 0] for hole in np.flatnonzero(tree[0, :, 3] == number)]
            joined = _joined(contour[:, 0], holes)
            parts.append(cv2.approxPolyDP(joined[:, None], tolerance, closed=True)[:, 0])
    return [part for part in parts if len(part) >= 3]


def _joined(outline, holes):
    """One closed line through an outline and its holes.

    The hole that is nearest to what is joined comes first: its seam crosses no other.
    """
    ways = {number: _way(hole, outline) for number, hole in enumerate(holes)}
    while ways:
        number = min(ways, key=lambda one: ways[one][0])
        _, point, start = ways.pop(number)
        at = int(np.flatnonzero((outline == point).all(1))[0])
        hole = np.roll(holes[number], -start, axis=0)
        outline = np.concatenate([outline[:at + 1], hole, hole[:1], outline[at:]])
        for other, way in ways.items():
            ways[other] = min(way, _way(holes[other], hole), key=lambda one: one[0])
    return outline


def _way(hole, outline):
    """(distance, point of the outline, index of the hole's point) where they are nearest."""
    distances, indices = cKDTree(outline).query(hole)
    start = int(distances.argmin())
    return float(distances[start]), outline[indices[start]], start
