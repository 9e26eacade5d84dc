# SPDX-License-Identifier: Apache-2.0
"""Photos and palette masks in VOCdevkit layout, of PASCAL VOC or of one's own classes."""

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from pipelines.errors import DataError
from pipelines.folds import PASCAL_CLASSES
from pipelines.reading.files import (
    PHOTO_SUFFIXES,
    open_picture,
    same_size,
)
from pipelines.reading.lists import read_lines
from pipelines.reading.masks import mask_values, read_index
from pipelines.reading.photos import read_photo
from pipelines.sources.masks import VOID, IndexMasks

MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")


class VOCSource(IndexMasks):
    """`JPEGImages`, one folder of index masks, and lists under `ImageSets/Segmentation`.

    Args:
        root: a VOCdevkit, a VOC2012 folder in it, or any folder of that layout.
        classes: file of class names, a line each; default `classes.txt` in `root`, else PASCAL's.
        masks: the masks' folder; default SegmentationClassAug, else SegmentationClass.
    Raises:
        DataError: folders that are missing, or a list of class names that is none.
    """

    name = "voc"

    def __init__(self, root: str | os.PathLike | None, classes: str | os.PathLike | None = None,
                 masks: str | None = None) -> None:
        if root is None:
            raise DataError("data.root is not set: a voc data set needs its folder")
        folders = (masks,) if masks else MASK_FOLDERS
        self.root = self._find(Path(root), folders)
        self.masks = next(self.root / f for f in folders if (self.root / f).is_dir())
        self.photos = self.root / "JPEGImages"
        self.classes = self._class_names(classes)

    @staticmethod
    def _find(root: Path, folders: tuple[str, ...]) -> Path:
        for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
            if any((folder / f).is_dir() for f in folders):
                return folder
        if not root.is_dir():
            raise DataError(f"{root}: no such folder (data.root)")
        raise DataError(f"{root}: not of VOC layout; JPEGImages and {' or '.join(folders)} "
                        "are expected in it")

    def _class_names(self, path):
        path = Path(path) if path else self.root / "classes.txt"
        if not path.is_file():
            if path != self.root / "classes.txt":
                raise DataError(f"{path}: no such file of class names (data.classes)")
            return PASCAL_CLASSES
        names = tuple(n.strip() for n in read_lines(path) if n.strip())
        if not names or len(set(names)) < len(names) or len(names) > 254:
            raise DataError(f"{path}: 1 to 254 different class names are expected, a line each; "
                            f"found {len(names)}, {len(set(names))} different")
        return names

    def image_ids(self, split: str) -> list[str]:
        """Ids of `ImageSets/Segmentation/<split>.txt`; "all": every photo with a mask, sorted.

        A line of a list is an id or, as in published lists, the paths of photo and mask.

        Raises:
            DataError: no such list, an empty one, one that is no UTF-8 text, or an id that stands
                there twice.
        """
        if split == "all":
            # Archives packed on a Mac bring "._name.png" beside each file.
            ids = sorted(p.stem for p in self.masks.glob("*.png") if not p.name.startswith("."))
            if not ids:
                raise DataError(f"{self.masks}: no PNG mask in this folder")
            return ids
        path = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("*.txt"))
            raise DataError(f"{path}: no such split; known: all{''.join(', ' + k for k in known)}")
        ids = [_id_of(line) for line in read_lines(path) if line.strip()]
        if not ids:
            raise DataError(f"{path}: an empty list; one id a line is expected")
        twice = sorted(i for i, times in Counter(ids).items() if times > 1)
        if twice:
            raise DataError(f"{path}: {len(twice)} ids stand twice, first {twice[0]}; remove one")
        return ids

    def image_path(self, image_id: str) -> Path:
        """Path of the photo; DataError where there is none."""
        path = self._photo(image_id)
        if path is not None:
            return path
        if not self.photos.is_dir():
            raise DataError(f"{self.photos}: no such folder; the photos are expected in it")
        raise DataError(f"{self.photos / image_id}: no photo ({', '.join(PHOTO_SUFFIXES)}) for "
                        "this id; add it or take the id off the split")

    def _photo(self, image_id):
        paths = (self.photos / f"{image_id}{suffix}" for suffix in PHOTO_SUFFIXES)
        return next((path for path in paths if path.is_file()), None)

    def mask_path(self, image_id: str) -> Path:
        """Path of the index mask; DataError where there is none."""
        path = self.masks / f"{image_id}.png"
        if not path.is_file():
            raise DataError(f"{path}: no mask for this id; add it or take the id off the split")
        return path

    def files(self, image_id: str) -> tuple[Path, ...]:
        """Paths of mask and photo, there or not: what the index of this photo depends on."""
        photo = self._photo(image_id) or self.photos / image_id
        return self.masks / f"{image_id}.png", photo

    def check(self, image_id: str) -> None:
        """Headers only: photo and mask are there and of one size; else a DataError."""
        path = self.mask_path(image_id)
        with open_picture(path) as mask:
            same_size(path, mask.size, self.image_path(image_id))

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB; DataError for a damaged file."""
        return read_photo(self.image_path(image_id))

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W]: 0 background, 1..C the class, 255 void.

        Raises:
            DataError: a damaged file, a colour picture, values of no class, or another size than
                the photo's (compared where there is a photo; `check` asks for one).
        """
        path = self.masks / f"{image_id}.png"
        index = read_index(path)
        if index is None:
            with open_picture(self.mask_path(image_id)) as mask:
                if mask.mode not in ("P", "L"):
                    raise DataError(f"{path}: a picture of mode {mask.mode}, an index mask is "
                                    "expected (palette or 8-bit gray PNG whose values are class "
                                    "numbers)")
            index = mask_values(path)
        photo = self._photo(image_id)
        if photo is not None:
            # Both are squashed to one size later on: nothing else would notice.
            same_size(path, index.shape[::-1], photo)
        strange = cv2.inRange(index, len(self.classes) + 1, VOID - 1)
        if cv2.hasNonZero(strange):
            strange = np.unique(index[strange > 0]).tolist()
            raise DataError(f"{path}: values {strange[:5]} stand for no class; 0, 1.."
                            f"{len(self.classes)} and 255 (void) are known: check the class names")
        return index


def _id_of(line):
    first = line.split()[0] if "/" in line else line.strip()
    name = first.rpartition("/")[2]
    suffix = Path(name).suffix
    return name[:-len(suffix)] if suffix.lower() in PHOTO_SUFFIXES else name
