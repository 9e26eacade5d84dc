# SPDX-License-Identifier: Apache-2.0
"""Photos and masks that stand ready at training size, as `pipelines.prepare.records` leaves them.

A folder of three files: `photos.array_record` (a record a photo, uint8 [S, S, 3]),
`masks.array_record` (a record a class of a photo, uint8 [S, S] of 0, 1 and 255) and `records.json`,
which says what they were made of. A mask of class 0 has the void of all classes that a photo does
not show, where their masks have other void than the first one.
"""

import contextlib
import os
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.sealed import read_sealed, told
from pipelines.sources.masks import VOID, merged

FORMAT = 2
FACTS, PHOTOS, MASKS = "records.json", "photos.array_record", "masks.array_record"
NO_CLASS = 0
REMEDY = "remove its folder and prepare the records again"


def is_records(root: str | os.PathLike | None) -> bool:
    """Whether a folder holds records, in the place of photos."""
    return root is not None and (Path(root) / FACTS).is_file()


class RecordsSource:
    """A `pipelines.sources.Source` over prepared records.

    Args:
        root: their folder.
        dataset: kind of data set that they must be of; any unless given.

    Attributes:
        stored_size: side S of photos and masks; episodes can be of no other.
        splits: {split: photo ids}.
        provenance: of the data set that they were made of (its kind, place, hash and versions).
    Raises:
        DataError: files that are missing, damaged or cut short, or of another kind of data set.
    """

    def __init__(self, root: str | os.PathLike, dataset: str | None = None) -> None:
        self.root = Path(root)
        if not is_records(root):
            raise DataError(f"{self.root / FACTS}: no such file; prepare records with "
                            "sst prepare records")
        path = self.root / FACTS
        told_of = read_sealed(path, REMEDY)
        if told_of.get("format") != FORMAT:
            raise DataError(f"{path}: records of format {told_of.get('format')}, {FORMAT} is "
                            f"read; {REMEDY}")
        with told(path, REMEDY):
            self.stored_size, self.classes = int(told_of["image_size"]), tuple(told_of["classes"])
            self.provenance: dict[str, Any] = told_of["made_of"]
            self.splits: dict[str, list[str]] = told_of["splits"]
            self._facts: dict[str, list] = told_of["photos"]  # in the order of the records
            self._classes: dict[str, list[int]] = {  # whose masks there are
                image_id: list(numbers) for image_id, numbers in told_of["masks"].items()}
            kind = self.provenance["dataset"]
            sizes = {PHOTOS: int(told_of["bytes"][PHOTOS]), MASKS: int(told_of["bytes"][MASKS])}
        if dataset not in (None, kind):
            raise DataError(f"{self.root}: records of a data set of kind {kind}, {dataset} is "
                            "asked for")
        self.name = f"{kind}-{self.stored_size}"
        self._place: dict[str, int] = {}
        self._first: dict[str, int] = {}  # where a photo's masks begin
        count = 0
        for number, image_id in enumerate(self._facts):
            self._place[image_id], self._first[image_id] = number, count
            count += len(self._classes[image_id])
        for name, size in sizes.items():
            found = (self.root / name).stat().st_size if (self.root / name).is_file() else None
            if found != size:
                raise DataError(f"{self.root / name}: " + (
                    "no such file" if found is None else
                    f"{found} bytes, {size} were written") + f"; {REMEDY}")
        self._counts = {PHOTOS: len(self._facts), MASKS: count}

    def image_ids(self, split: str) -> list[str]:
        """Photo ids of a split that was prepared; "all" is every photo."""
        if split == "all":
            return list(self._facts)
        if split not in self.splits:
            raise DataError(f"{self.root}: no split {split!r} was prepared; known: "
                            f"{', '.join(['all', *self.splits])}")
        return list(self.splits[split])

    def whole(self) -> None:
        """All records are there, by their number; else a DataError."""
        _ = self._open

    def facts(self, image_id: str) -> list:
        """[[class id, area, [pair filter, ...]], ...] of masks and crowds before they were resized.

        So a pair filter keeps the pairs that it keeps of the data set itself.
        """
        return self._facts[self._known(image_id)]

    def check(self, image_id: str) -> None:
        """A photo of this id was prepared; else a DataError."""
        self._known(image_id)

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [S, S, 3] RGB; DataError for a damaged record."""
        side = self.stored_size
        return self._read(PHOTOS, self._place[self._known(image_id)], (side, side, 3))

    def class_masks(self, image_id: str) -> dict[int, np.ndarray]:
        """{class id: uint8 [S, S] of 0, 1 and 255}."""
        return {number: self._mask(image_id, number)
                for number in self._classes[self._known(image_id)] if number != NO_CLASS}

    def class_mask(self, image_id: str, class_id: int,
                   ignore_ids: Collection[int] = ()) -> np.ndarray:
        """uint8 [S, S]: 1 the class, 255 void and other classes of `ignore_ids`, else 0."""
        own = self._classes[self._known(image_id)]
        shown = class_id in own
        mask = self._mask(image_id, class_id if shown else
                          NO_CLASS if NO_CLASS in own else own[0])
        hidden = set(ignore_ids) & set(own) - {class_id}
        if shown and not hidden:
            return mask
        mask = mask.copy() if shown else np.where(mask == 1, 0, mask).astype(np.uint8)
        for other in hidden:
            mask[(self._mask(image_id, other) == 1) & (mask != 1)] = VOID
        return mask

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [S, S] of class numbers; the higher one where two classes overlap."""
        if len(self.classes) >= VOID:
            raise DataError(f"{self.root}: {len(self.classes)} classes, an index mask names 254; "
                            "set pretrain.steps to 0")
        masks = self.class_masks(image_id) or {NO_CLASS: self._mask(image_id, NO_CLASS)}
        ids = sorted(masks)
        numbers = np.array([0, *ids] + [0] * (254 - len(ids)) + [VOID], np.uint8)
        return numbers[merged(masks, ids)]

    def files(self, image_id: str) -> tuple[Path, ...]:
        """Paths that the index of a photo depends on."""
        return tuple(self.root / name for name in (FACTS, MASKS, PHOTOS))

    def _known(self, image_id):
        if image_id not in self._facts:
            raise DataError(f"{self.root}: no photo {image_id!r} was prepared")
        return image_id

    def _mask(self, image_id, class_id):
        side, number = self.stored_size, self._classes[image_id].index(class_id)
        return self._read(MASKS, self._first[image_id] + number, (side, side))

    def _read(self, name, number, shape):
        """One record as an array; ArrayRecord has a hash of each and looks at it."""
        with self._told(name):
            data = self._open[name].read([number])[0]
            return np.frombuffer(data, np.uint8).reshape(shape)

    @cached_property
    def _open(self):
        """{file: reader}, opened when first read; threads share them."""
        from array_record.python.array_record_module import ArrayRecordReader
        opened = {}
        for name, count in self._counts.items():
            with self._told(name):
                # Nothing is read ahead: the next record is anywhere.
                reader = ArrayRecordReader(str(self.root / name),
                                           "readahead_buffer_size:0,max_parallelism:0")
                if not reader.ok() or reader.num_records() != count:
                    raise ValueError(f"{reader.num_records()} records, {count} were written")
                opened[name] = reader
        return opened

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        with told(self.root / name, REMEDY):
            try:
                yield
            except (RuntimeError, IndexError) as error:  # what ArrayRecord raises
                raise ValueError(str(error).partition(";")[0]) from None

    def __getstate__(self):
        """Another process opens the files itself."""
        return {key: value for key, value in self.__dict__.items() if key != "_open"}
