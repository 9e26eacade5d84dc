# SPDX-License-Identifier: Apache-2.0
"""One folder a class, photo and mask side by side: FSS-1000, and anything of that layout."""

import hashlib
import os
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from pipelines.errors import DataError
from pipelines.reading.files import open_picture, same_size
from pipelines.reading.lists import read_lines
from pipelines.reading.masks import marked, mask_values
from pipelines.reading.photos import read_photo
from pipelines.sources.masks import VOID

PHOTO_SUFFIXES = (".jpg", ".jpeg")
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}  # of the classes, where no list says better


class FolderSource:
    """`<root>/<class>/<name>.jpg` with its mask `<name>.png`: one class a photo.

    Masks hold {0, 255} or {0, 1}: background and object; with 0, 1 and 255 in one file 255 does
    not count. Palette, gray and 1-bit masks and three equal channels, as FSS-1000 has them, are
    read alike.

    Args:
        root: folder of the class folders; those without a photo are no classes, nor are hidden
            ones.
    Raises:
        DataError: no such folder, none with photos, or two photos of one name.
    """

    name = "folder"

    def __init__(self, root: str | os.PathLike | None) -> None:
        if root is None:
            raise DataError("data.root is not set: a folder data set needs its folder")
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder (data.root)")
        self.photos = {}
        for folder in sorted(p for p in self.root.iterdir() if p.is_dir()):
            if folder.name.startswith("."):  # thumbnails, and what other tools hide
                continue
            found: dict[str, Path] = {}
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() not in PHOTO_SUFFIXES or path.name.startswith("."):
                    continue
                other = found.setdefault(path.stem, path)
                if other != path:
                    raise DataError(f"{path}: {other.name} has the same name, and "
                                    f"{path.stem}.png is the mask of one; rename the other")
            if found:
                self.photos[folder.name] = found
        if not self.photos:
            raise DataError(f"{self.root}: no folder in it holds photos "
                            f"({', '.join(PHOTO_SUFFIXES)})"
                            "; <root>/<class>/<name>.jpg and .png are expected")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the folders."""
        return tuple(self.photos)

    def image_ids(self, split: str) -> list[str]:
        """Ids `<class>/<name>` of "all" photos; splits of such a set are splits of its classes."""
        if split != "all":
            raise DataError(f"{self.root}: no split {split!r} of photos; all is known (classes are "
                            "split: data.split_file)")
        return [f"{c}/{name}" for c, found in self.photos.items() for name in found]

    def image_path(self, image_id: str) -> Path:
        """Path of the photo; DataError where there is none."""
        class_name, _, name = image_id.rpartition("/")
        if name not in self.photos.get(class_name, ()):
            raise DataError(f"{self.root}: no photo {image_id!r}")
        return self.photos[class_name][name]

    def mask_path(self, image_id: str) -> Path:
        """Path of the mask; DataError where there is none."""
        path = self.image_path(image_id).with_suffix(".png")
        if not path.is_file():
            raise DataError(f"{path}: no mask for this photo; add it or take the photo away")
        return path

    def files(self, image_id: str) -> tuple[Path, ...]:
        """Paths of mask and photo, there or not: what the index of this photo depends on."""
        photo = self.image_path(image_id)
        return photo.with_suffix(".png"), photo

    def check(self, image_id: str) -> None:
        """Headers only: photo and mask are there and of one size; else a DataError."""
        path = self.mask_path(image_id)
        with open_picture(path) as mask:
            same_size(path, mask.size, self.image_path(image_id))

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB; DataError for a damaged file."""
        return read_photo(self.image_path(image_id))

    def class_masks(self, image_id: str) -> dict[int, np.ndarray]:
        """{class id: uint8 [H, W] of 0, 1 and 255}; empty where the mask is."""
        mask = self._read(image_id)
        return {self._class_id(image_id): mask} if (mask == 1).any() else {}

    def class_mask(self, image_id: str, class_id: int,
                   ignore_ids: Collection[int] = ()) -> np.ndarray:
        """uint8 [H, W]: 1 the class, 255 void, else 0."""
        mask, own = self._read(image_id), self._class_id(image_id)
        if own == class_id:
            return mask
        hidden = VOID if own in ignore_ids else 0
        return np.where(mask == 1, hidden, mask).astype(np.uint8)

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W] of class numbers; DataError with more classes than a byte can name."""
        if len(self.classes) > 254:
            raise DataError(f"{self.root}: {len(self.classes)} classes, an index mask names "
                            "254; "
                            "set pretrain.steps to 0")
        mask = self._read(image_id)
        return np.where(mask == 1, self._class_id(image_id), mask).astype(np.uint8)

    def _class_id(self, image_id):
        return self.classes.index(image_id.rpartition("/")[0]) + 1

    def _read(self, image_id):
        path = self.mask_path(image_id)
        values = mask_values(path)
        same_size(path, values.shape[::-1], self.image_path(image_id))
        return marked(values, str(path))


def class_split(classes: Sequence[str], split_file: str | os.PathLike | None = None,
                seed: int = 0) -> dict[str, tuple[str, ...]]:
    """Base and novel classes of a set whose classes are split.

    Args:
        split_file: novel class names, one a line. A `trn.txt` or `train.txt` beside it names the
            base classes (what neither names takes no part); without one all others are base.
        seed: without a file, a seeded 60/20/20 split into train, val and test classes.

    Returns:
        {"train": names, "val": names, "test": names}, tuples in the order of `classes`.
    Raises:
        DataError: a name that is no class, or one that is both base and novel.
    """
    if split_file is None:
        def draw(name):
            return hashlib.sha256(f"{seed}:{name}".encode()).digest()

        order = sorted(classes, key=draw)
        cuts = np.round(np.cumsum([0, *SHARES.values()]) * len(order)).astype(int)
        parts = {s: set(order[a:b]) for s, a, b in zip(SHARES, cuts[:-1], cuts[1:], strict=True)}
    else:
        path = Path(split_file)
        test = _names(path, classes)
        beside = next((path.with_name(n) for n in ("trn.txt", "train.txt")
                       if path.with_name(n).is_file() and n != path.name), None)
        train = _names(beside, classes) if beside else set(classes) - test
        if beside and train & test:
            raise DataError(f"{path}: {sorted(train & test)[0]!r} stands in {beside.name} too; a "
                            "class is base or novel")
        parts = {"train": train, "test": test, "val": set(classes) - train - test}
    return {s: tuple(c for c in classes if c in parts[s]) for s in SHARES}


def _names(path, classes):
    if not path.is_file():
        raise DataError(f"{path}: no such file of class names (data.split_file)")
    names = {n.strip() for n in read_lines(path) if n.strip()}
    strange = sorted(names - set(classes))
    if strange or not names:
        raise DataError(f"{path}: {strange[0]!r} is no class of this data set" if strange else
                        f"{path}: an empty list; a class name a line is expected")
    return names
