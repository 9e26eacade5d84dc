# SPDX-License-Identifier: Apache-2.0
"""Photos and answers with all that formats stumble over: holes, parts, blanks, folders, nothing."""

import numpy as np
import pytest
from PIL import Image

from sst_tf.photos.formats.shapes import Answer

CLASSES = ["lid & cap", "coffee mug"]


def masks(height, width):
    """{class: bool [H, W]}: a ring with a hole and a second part; a disc; they do not overlap."""
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - height * 0.45, columns - width * 0.3)
    ring = (away < height * 0.35) & (away > height * 0.15)
    bar = (rows > height * 0.85) & (columns < width * 0.9) & (columns > 3)
    disc = (np.hypot(rows - height * 0.4, columns - width * 0.8) < height * 0.2) & ~ring & ~bar
    return {"coffee mug": ring | bar, "lid & cap": disc}


def iou(one, other):
    one, other = np.asarray(one) == 1, np.asarray(other) == 1
    return (one & other).sum() / (one | other).sum()


@pytest.fixture
def photos(tmp_path):
    """{key: path} of three photos."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = {}
    for key, size in (("a.png", (90, 120)), ("more/b c.jpg", (150, 101)),
                      ("empty.v2.jpg", (40, 60))):
        paths[key] = folder / key
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(paths[key])
    return paths


@pytest.fixture
def answers(photos):
    """Answers to them, as formats take them; nothing was found in the last."""
    found = []
    for key, path in photos.items():
        with Image.open(path) as picture:
            size = picture.size[::-1]
        there = {} if key.startswith("empty") else masks(*size)
        found.append(Answer(key, path, size, there, dict.fromkeys(there, 0.75)))
    return found
