# SPDX-License-Identifier: Apache-2.0
"""Pictures of photos and masks: what is tinted, put side by side, and written."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipelines.writing import write_bytes

GREEN, ORANGE = (70, 200, 70), (255, 140, 0)
SIDE = 160  # of a photo in a sheet, pixels


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Tint the pixels of `mask == 1` and draw their outline; [S, S, 3] uint8 RGB, [S, S]."""
    inside = (mask == 1).astype(np.uint8)
    tinted = np.where(inside[..., None] > 0, 0.5 * image + 0.5 * np.array(colour), image)
    picture = np.ascontiguousarray(tinted.astype(np.uint8))
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, colour, 1, cv2.LINE_AA)
    return picture


def sheet(rows: Sequence[Sequence[np.ndarray]], headings: Sequence[str],
          labels: Sequence[str] | None = None, side: int = SIDE) -> np.ndarray:
    """Rows of RGB pictures under headings as one picture, with a label a row if there are any."""
    lines = [np.hstack([_heading(text, side) for text in headings])]
    for number, row in enumerate(rows):
        cells = [cv2.resize(cell, (side, side), interpolation=cv2.INTER_AREA) for cell in row]
        line = np.hstack([np.pad(c, ((2, 2), (2, 2), (0, 0)), constant_values=255) for c in cells])
        if labels:
            line[4:26, 4:12 + 9 * len(labels[number])] //= 3  # a dark strip, to be read on
            cv2.putText(line, labels[number], (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5,
                        (255, 255, 255), 1, cv2.LINE_AA)
        lines.append(line)
    return np.vstack(lines)


def _heading(text, side):
    strip = np.full((26, side + 4, 3), 255, np.uint8)
    cv2.putText(strip, text, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def save(path: str | Path, picture: np.ndarray) -> Path:
    """Write an RGB or a gray picture, whole or not at all; returns its path."""
    path, colours = Path(path), picture[..., ::-1] if picture.ndim == 3 else picture
    write_bytes(path, cv2.imencode(path.suffix, colours)[1].tobytes())
    return path
