"""A VOC-layout data set of a few drawn photos, for tests that need files of their own."""

import cv2
import numpy as np
from PIL import Image

from pipelines.sources.shapes import ShapesSource

CLASSES = ("ant", "bee", "cat", "dog")


def voc_tree(root, photos=24, side=(60, 80)):
    """Write `JPEGImages`, palette masks, `classes.txt` and a list; returns the ids.

    Photo i shows class i % 4 + 1, and class (i + 1) % 4 + 1 in its corner for every third photo.
    """
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    names = []
    for i in range(photos):
        mask = np.zeros(side, np.uint8)
        mask[10:30 + i % 5, 20:50] = i % 4 + 1
        if i % 3 == 0:
            mask[45:55, 5:15] = (i + 1) % 4 + 1
        mask[0, :] = 255
        image = rng.integers(0, 255, (*side, 3), dtype=np.uint8)
        image[mask > 0] //= 3
        names.append(f"photo{i:03d}")
        cv2.imwrite(str(root / "JPEGImages" / f"{names[-1]}.jpg"), image)
        write_mask(root / "SegmentationClass" / f"{names[-1]}.png", mask)
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(names), encoding="utf-8")
    return names


def write_mask(path, mask):
    """A palette PNG whose colours say nothing of the index, as VOC's are."""
    picture = Image.fromarray(mask, "P")
    picture.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    picture.save(path)


def shapes(count=300, side=65):
    return ShapesSource(image_size=side, count=count)
