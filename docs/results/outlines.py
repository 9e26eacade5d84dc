# SPDX-License-Identifier: Apache-2.0
"""What the page's outline makes of rough marks: `python docs/results/outlines.py SITE VOC CLASS...`

One object in one piece a photo, 3 % of it or more, marked by the box around it and by one straight
stroke inside it; the IoU with the true mask of the mark as it is, of GrabCut's mask (as in `sst
predict`) and of the page's outline. SITE is a folder of `sst web`, VOC a data set of VOC layout,
CLASS those that the model did not know.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from export.page_files import FACTS, page_model
from pipelines import open_source
from pipelines.errors import DataError
from sst_tf.photos.annotations import Box, Scribbles, mask_of

LEAST_SHARE, MOST, RESAMPLES = 0.03, 100, 2000


def stroke_in(mask, random):
    """A straight stroke between two places well inside an object; None where it is too thin."""
    side = max(3, int(np.sqrt(mask.sum()) // 3) | 1)
    rows, columns = np.nonzero(cv2.erode(mask, np.ones((side, side))))
    if not len(rows):
        return None
    i, j = random.integers(len(rows), size=2)
    drawn = np.zeros_like(mask)
    cv2.line(drawn, (int(columns[i]), int(rows[i])), (int(columns[j]), int(rows[j])), 1,
             max(3, max(mask.shape) // 36))
    return drawn & mask


def outline(own, mark, threshold, boxed):
    """As `findOutline` of the page, of the marked photo's own probability."""
    found = (own >= min(threshold, own[mark == 1].max() * 0.9)).astype(np.uint8)
    if boxed:
        return found & mark
    labels = cv2.connectedComponents(found | mark, connectivity=4)[1]
    return np.isin(labels, np.unique(labels[mark == 1])).astype(np.uint8)


def main(site, root, *names):
    """Print the means and the intervals of the differences."""
    model, random = page_model(Path(site)), np.random.default_rng(0)
    threshold = json.loads((Path(site) / FACTS).read_text())["points"][0]["threshold"]
    source, rows = open_source("voc", root=root), []
    asked = {source.classes.index(name) + 1 for name in names}
    photos = list(source.image_ids("all"))
    random.shuffle(photos)
    for name in photos:
        shown = sorted(asked & set(source.class_masks(name)))
        if not shown or len(rows) == MOST:
            continue
        truth = source.class_mask(name, shown[random.integers(len(shown))])
        mask, counted = (truth == 1).astype(np.uint8), truth != 255
        parts, _, frames, _ = cv2.connectedComponentsWithStats(mask)
        stroke = stroke_in(mask, random)
        if parts != 2 or mask.mean() < LEAST_SHARE or stroke is None:
            continue
        x, y, width, height = (int(value) for value in frames[1][:4])
        box, photo = np.zeros_like(mask), np.asarray(source.read_image(name))
        box[y:y + height, x:x + width] = 1
        features, row = model.run("embed", {"photo": photo})["features"], []
        try:
            cut = [mask_of(one, photo)[0] for one in (Box(x, y, x + width, y + height),
                                                      Scribbles(stroke.astype(bool)))]
        except DataError:  # GrabCut found nothing
            continue
        for mark, guess, boxed in ((box, cut[0], True), (stroke, cut[1], False)):
            own = model.run("tune", {"features": features, "mask": mark})["own"]
            for one in (mark, guess, outline(own, mark, threshold, boxed)):
                both, either = (one & mask)[counted].sum(), (one | mask)[counted].sum()
                row.append(both / either)
        rows.append(row)
    table = np.array(rows)
    means = [table[random.integers(len(table), size=len(table))].mean(0) for _ in range(RESAMPLES)]
    print(f"{len(table)} objects; mark as it is, GrabCut, outline; outline minus GrabCut, 95 %")
    for kind, at in (("box", 0), ("stroke", 3)):
        low, high = np.percentile([one[at + 2] - one[at + 1] for one in means], [2.5, 97.5])
        print(kind, *(f"{value:.2f}" for value in table.mean(0)[at:at + 3]),
              f"{low:+.2f} .. {high:+.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
