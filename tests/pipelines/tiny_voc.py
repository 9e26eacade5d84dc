# SPDX-License-Identifier: Apache-2.0
"""A tiny data set in VOC layout, for machines without the shared one."""

import numpy as np
from PIL import Image

CLASSES = ("cup", "fork", "knife", "plate")
# Colours by index as in VOC: none is gray with its own index as value.
PALETTE = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
HEIGHT, WIDTH = 40, 48


def write_mask(path, mask):
    """Write uint8 [H, W] as a palette PNG."""
    picture = Image.fromarray(mask)
    colours = PALETTE + [(i, 255 - i, 90) for i in range(len(PALETTE), 255)] + [(224, 224, 192)]
    picture.putpalette(np.array(colours, np.uint8).tobytes())
    picture.save(path)


def tiny_mask(number):
    """Mask of photo `number`: a box of class `number % 4 + 1`, void on its right edge."""
    rng = np.random.default_rng(number)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = rng.integers(2, 15, 2)
    mask[top:top + 16, left:left + 18] = number % len(CLASSES) + 1
    mask[top:top + 16, left + 18:left + 20] = 255
    return mask


def tiny_image(mask, number):
    """Noise; the red channel says where the object is, so that image and mask can be compared."""
    image = np.random.default_rng(1000 + number).integers(0, 255, (*mask.shape, 3), np.uint8)
    image[..., 0] = np.where((mask > 0) & (mask < 255), 250, 5)
    return image


def write_tiny_voc(root, photos=24, suffix=".png"):
    """Write `photos` photos, a quarter of them a class; ids `p00`, `p01`, ...; returns root."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number in range(photos):
        mask = tiny_mask(number)
        Image.fromarray(tiny_image(mask, number)).save(
            root / "JPEGImages" / f"p{number:02d}{suffix}")
        write_mask(root / "SegmentationClass" / f"p{number:02d}.png", mask)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    (root / "ImageSets/Segmentation/train.txt").write_text(
        "".join(f"p{n:02d}\n" for n in range(16)), encoding="utf-8")
    (root / "ImageSets/Segmentation/val.txt").write_text(
        "".join(f"/JPEGImages/p{n:02d}.jpg SegmentationClass/p{n:02d}.png\n"
                for n in range(16, photos)), encoding="utf-8")
    return root
