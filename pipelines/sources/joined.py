# SPDX-License-Identifier: Apache-2.0
"""Several data sets under one list of classes, each labelling some of them.

A photo belongs to one part, and its part says which classes its masks know. A class that a part
does not label may well be in its photos: no photo of that part is then a support, a query or an
example of its absence for that class.
"""

import functools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.errors import DataError
from pipelines.sources import Source
from pipelines.sources.masks import VOID, one_class

SYNONYMS = Path(__file__).with_name("synonyms.tsv")  # a line a class: its names in any data set
SEPARATOR = ":"
POLICIES = ("background", "ignore")


@dataclass(frozen=True)
class Part:
    """One data set of several.

    Attributes:
        source: a `pipelines.sources.Source`.
        splits: {split of the whole: split of this part}; photos of other splits take no part.
    """

    source: Source
    splits: Mapping[str, str]


class JoinedSource:
    """Several sources as one.

    The first part's photo ids and class numbers stay what they are, so that published lists of its
    photos can be replayed; photo `7` of a further part `coco` is `coco:7`, and classes that the
    parts before it do not have follow in its order.

    Args:
        parts: {name: `Part`}, the first of them the main one.
        unlabelled: pixels without a label in a photo whose part does not label a class count, for
            that class, as "background" or not at all ("ignore", 255).
    Raises:
        DataError: no parts, a name with a colon, more than 254 classes.
    """

    name = "joined"

    def __init__(self, parts: Mapping[str, Part], unlabelled: str = "background") -> None:
        if not parts:
            raise DataError("a joined data set needs at least one part")
        if unlabelled not in POLICIES:
            raise DataError(f"unlabelled {unlabelled!r}: {' or '.join(POLICIES)} is expected")
        for name in parts:
            if SEPARATOR in name or not name:
                raise DataError(f"part {name!r}: a name without {SEPARATOR!r} is expected")
        self.parts, self.unlabelled = dict(parts), unlabelled
        self.main = next(iter(self.parts))
        self.classes_of = {name: tuple(part.source.classes) for name, part in self.parts.items()}
        self.classes, self._joint = _join(self.classes_of)
        if len(self.classes) >= VOID:
            raise DataError(f"{len(self.classes)} classes, masks hold 254 at most: join fewer "
                            "parts")
        # [256] per part: its class number to ours; background and void stay.
        self._table = {name: np.array([0, *numbers, *[VOID] * (255 - len(numbers))], np.uint8)
                       for name, numbers in self._joint.items()}
        self._own = {name: {joint: own for own, joint in enumerate(numbers, start=1)}
                     for name, numbers in self._joint.items()}
        self._labels = {name: frozenset(numbers) for name, numbers in self._joint.items()}
        # A part that cannot say what its photos depend on cannot be kept in an index either.
        self.files: Callable[[str], tuple[Path, ...]] | None = (
            self._files if all(getattr(part.source, "files", None)
                               for part in self.parts.values()) else None)

    @property
    def stored_size(self) -> int | None:
        """Side of the photos of records, where all parts are records of one size; else None."""
        sizes = {getattr(part.source, "stored_size", None) for part in self.parts.values()}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def root(self) -> str:
        """Folders of all parts."""
        return " + ".join(f"{name} {getattr(part.source, 'root', '')}"
                          for name, part in self.parts.items())

    def image_ids(self, split: str) -> list[str]:
        """Photo ids of a split over all parts that have it; "all" is every photo of every part.

        Raises:
            DataError: a split that no part has; a photo of the first part whose id begins with a
                part's name and a colon.
        """
        found = [self._id(name, own) for name, part in self.parts.items()
                 for own in (part.source.image_ids("all") if split == "all" else
                             part.source.image_ids(part.splits[split]) if split in part.splits
                             else ())]
        if not found:
            known = sorted({s for part in self.parts.values() for s in part.splits})
            raise DataError(f"split {split!r}: no part has it; known: {', '.join(['all', *known])}")
        return found

    def part_of(self, image_id: str) -> str:
        """Name of the part that a photo belongs to."""
        return self._part(image_id)[0]

    def labels(self, image_id: str) -> frozenset[int]:
        """Class numbers that the photo's part labels: only these are known to be absent from it."""
        name, own = self._part(image_id)
        labels = getattr(self.parts[name].source, "labels", None)
        if labels is None:
            return self._labels[name]
        return frozenset(self._joint[name][c - 1] for c in labels(own))

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""
        name, own = self._part(image_id)
        return self.parts[name].source.read_image(own)

    def class_masks(self, image_id: str) -> dict[int, np.ndarray]:
        """{class number: uint8 [H, W] of 0, 1, 255} of the labelled classes with a pixel in it."""
        name, own = self._part(image_id)
        return {self._joint[name][c - 1]: mask
                for c, mask in self.parts[name].source.class_masks(own).items()}

    def crowds(self, image_id: str) -> dict[int, int]:
        """{class number: pixels} of the crowds in the photo, where its part knows of any."""
        name, own = self._part(image_id)
        crowds = getattr(self.parts[name].source, "crowds", lambda image_id: {})
        return {self._joint[name][c - 1]: area for c, area in crowds(own).items()}

    def class_mask(self, image_id: str, class_id: int,
                   ignore_ids: Collection[int] = ()) -> np.ndarray:
        """uint8 [H, W]: 1 the class, 255 void and other classes of `ignore_ids`, else 0.

        Of a class that the photo's part does not label: 0 where another class is, and by
        `unlabelled` 0 or 255 where nothing is labelled.
        """
        name, own = self._part(image_id)
        source, known = self.parts[name].source, self._own[name]
        if class_id in self.labels(image_id):
            return source.class_mask(own, known[class_id],
                                     tuple(known[c] for c in ignore_ids if c in known))
        return one_class(self.read_mask(image_id), class_id, ignore_ids)

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W]: 0 background, 1..C one class a pixel, 255 void.

        With `unlabelled` "ignore" there is no background in a photo whose part does not label all
        classes: what is not labelled may be any of the others.
        """
        name, own = self._part(image_id)
        index = self._table[name][self.parts[name].source.read_mask(own)]
        if self.unlabelled == "ignore" and len(self.labels(image_id)) < len(self.classes):
            index = np.where(index == 0, VOID, index).astype(np.uint8)
        return index

    def _files(self, image_id):
        """Paths that the index of this photo depends on."""
        name, own = self._part(image_id)
        return self.parts[name].source.files(own)

    def image_path(self, image_id: str) -> Path | None:
        """Path of the photo; None where its part has no file a photo."""
        name, own = self._part(image_id)
        return getattr(self.parts[name].source, "image_path", lambda _: None)(own)

    def facts(self, image_id: str) -> list | None:
        """As of `RecordsSource.facts`; None where the photo's part has none."""
        name, own = self._part(image_id)
        facts = getattr(self.parts[name].source, "facts", lambda image_id: None)(own)
        return None if facts is None else sorted([self._joint[name][number - 1], *seen]
                                                 for number, *seen in facts)

    def check(self, image_id: str) -> None:
        """Photo and mask are there and agree in size; else a DataError."""
        name, own = self._part(image_id)
        self.parts[name].source.check(own)

    def _id(self, name, own):
        if name != self.main:
            return f"{name}{SEPARATOR}{own}"
        part, rest = self._part(own)
        if rest != own:
            raise DataError(f"photo {own!r} of {self.main} reads as one of the part {part}; give "
                            "that part another name")
        return own

    def _part(self, image_id):
        """(part, id in it) of a photo."""
        name, separator, own = image_id.partition(SEPARATOR)
        return (name, own) if separator and name in self.parts else (self.main, image_id)


def beside(main: Source, name: str, splits: Mapping[str, str],
           others: Mapping[str, tuple[Source, str]], unlabelled: str = "background"
           ) -> JoinedSource:
    """A data set beside further ones whose photos are in the split "train" alone.

    Args:
        main: the data set, a part called `name`; `splits` as of its `Part`.
        others: {name: (source, its split)}.
    Raises:
        DataError: another part of the main one's name; see `JoinedSource`.
    """
    if name in others:
        raise DataError(f"data.join: {name} is the name of data.dataset; give another")
    parts = {part: Part(source, {"train": split}) for part, (source, split) in others.items()}
    return JoinedSource({name: Part(main, splits), **parts}, unlabelled)


def _join(classes_of):
    """(all class names, {part: our number of each of its classes in its order})."""
    classes: list[str] = []
    numbers: dict[str, list[int]] = {}
    known: dict[str, int] = {}
    for part, names in classes_of.items():
        numbers[part] = []
        for name in names:
            key = meaning(name)
            if known.setdefault(key, len(classes) + 1) > len(classes):
                classes.append(name)
            numbers[part].append(known[key])
        twice = [n for n in numbers[part] if numbers[part].count(n) > 1]
        if twice:
            both = [n for n, number in zip(names, numbers[part], strict=True) if number == twice[0]]
            raise DataError(f"part {part}: {' and '.join(both)} are one class by {SYNONYMS.name}")
    return tuple(classes), numbers


def meaning(name: str) -> str:
    """What classes of one meaning share: "tvmonitor" and "TV" are one, "dining table" and
    "diningtable" too.
    """
    plain = re.sub(r"[\s_-]+", "", name.lower())
    return _synonyms().get(plain, plain)


@functools.cache
def _synonyms():
    lines = SYNONYMS.read_text(encoding="utf-8").splitlines()
    return {name: line.split("\t")[0] for line in lines if line for name in line.split("\t")}
