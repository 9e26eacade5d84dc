# SPDX-License-Identifier: Apache-2.0
"""COCO, and photos with COCO-JSON annotations of one's own classes."""

import json
import os
import re
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.folds import COCO_CLASSES
from pipelines.reading.files import read_header, size_remedy
from pipelines.reading.photos import read_photo
from pipelines.reading.run_lengths import mask_of_run_lengths
from pipelines.sources.masks import VOID

YEAR = re.compile(r"(19|20)\d\d$")  # at the end of a split's name


class COCOSource:
    """Instances from JSON: polygons, rasterised by pycocotools when asked for, and run lengths.

    The mask of a class is the union of its objects; where objects of two classes overlap, the
    pixel belongs to both class masks, as with pycocotools. Crowd regions are void (255) where no
    object of the class lies. Photos without an annotation are in no split.

    Args:
        root: folder with `annotations/instances_<split>.json` and the photos in `<split>/`, where
            <split> is train2014, val2014, train2017 or val2017, or one's own word.
        annotations: one JSON file instead, of any place and name; its photos lie in `root`, where
            the JSON's `file_name` says. Class numbers are then its categories in order of id.

    Attributes:
        classes: COCO's 80 names in COCO's order, or the JSON's own.
    """

    name = "coco"

    def __init__(self, root: str | os.PathLike | None,
                 annotations: str | os.PathLike | None = None) -> None:
        if root is None:
            raise DataError("data.root is not set: a coco data set needs its folder")
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder (data.root)")
        self.own = annotations is not None
        if annotations is not None:
            files = {"all": Path(annotations)}
        else:
            folder = self.root / "annotations"
            files = {p.stem.removeprefix("instances_"): p
                     for p in sorted(folder.glob("instances_*.json"))}
            if not files:
                raise DataError(f"{folder}: no instances_*.json; COCO's annotation archives are "
                                "unpacked there")
        self.lists = files
        self.parts = {split: _Annotations(path, None if self.own else COCO_CLASSES)
                      for split, path in files.items()}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of COCO's 80 classes, or of one's own."""
        return next(iter(self.parts.values())).classes if self.own else COCO_CLASSES

    def image_ids(self, split: str) -> list[str]:
        """Ids `<split>/<file name>`; "all" joins the files, "train" is train2014 or train2017.

        Raises:
            DataError: no such split, or "train" where both years lie there.
        """
        chosen = [s for s in self.parts if split in ("all", s, s.rstrip("0123456789"))]
        if not chosen:
            raise DataError(f"{self.root}: no split {split!r}; known: all, {', '.join(self.parts)}")
        if len(chosen) > 1 and split != "all":
            raise DataError(f"{self.root}: {split!r} may be {' or '.join(chosen)}; name one")
        kinds = {YEAR.sub("", s) for s in chosen}
        if len(kinds) < len(chosen):  # the years have many photos in common, under two names
            raise DataError(f"{self.root}: {split!r} would be {', '.join(chosen)}, the same photos "
                            "of several years; leave one year's files in annotations/")
        return [f"{s}/{name}" for s in chosen for name in self.parts[s].names]

    def image_path(self, image_id: str) -> Path:
        """Path of the photo; DataError where there is none."""
        photo, listed = self.files(image_id)
        if not photo.is_file():
            raise DataError(f"{photo}: no such photo, though {listed.name} lists it; fetch it or "
                            "take it out of the JSON")
        return photo

    def files(self, image_id: str) -> tuple[Path, ...]:
        """Paths of photo and JSON, there or not: what the index of this photo depends on."""
        split, name = self._part(image_id)
        return (self.root / name if self.own else self.root / split / name), self.lists[split]

    def check(self, image_id: str) -> None:
        """The photo is there and has the size that the JSON gives; else a DataError."""
        path = self.image_path(image_id)
        split, name = self._part(image_id)
        size = self.parts[split].size(name)[::-1]
        if remedy := size_remedy(path, size, "its polygons are of another version of the photo"):
            stored = read_header(path).size
            raise DataError(f"{path}: {stored[0]} x {stored[1]} pixels, {self.lists[split].name} "
                            f"says {size[0]} x {size[1]} (width x height); {remedy}")

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB; DataError for a damaged file."""
        return read_photo(self.image_path(image_id))

    def class_masks(self, image_id: str) -> dict[int, np.ndarray]:
        """{class id: uint8 [H, W] of 0, 1 and 255} of every class with an object in the photo."""
        split, name = self._part(image_id)
        found = self.parts[split].class_ids(name)
        masks = {c: self.class_mask(image_id, c) for c in found}
        return {c: mask for c, mask in masks.items() if (mask == 1).any()}

    def crowds(self, image_id: str) -> dict[int, int]:
        """{class id: pixels} of the crowds in the photo, which no mask of a class holds."""
        split, name = self._part(image_id)
        return self.parts[split].crowds(name)

    def class_mask(self, image_id: str, class_id: int,
                   ignore_ids: Collection[int] = ()) -> np.ndarray:
        """uint8 [H, W]: 1 the class's objects, 255 crowds and classes of `ignore_ids`, else 0."""
        split, name = self._part(image_id)
        part = self.parts[split]
        mask = np.zeros(part.size(name), np.uint8)
        for number in ignore_ids:
            if number != class_id:
                mask[part.union(name, number)] = VOID
        mask[part.crowd(name)] = VOID
        mask[part.union(name, class_id)] = 1
        return mask

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W]: one class a pixel, the smaller object on top; 255 crowd regions."""
        split, name = self._part(image_id)
        part = self.parts[split]
        mask = np.where(part.crowd(name), VOID, 0).astype(np.uint8)
        for class_id, inside in sorted(part.objects(name), key=lambda o: -o[1].sum()):
            mask[inside] = class_id
        return mask

    def _part(self, image_id):
        split, _, name = image_id.partition("/")
        if split not in self.parts or name not in self.parts[split].photos:
            raise DataError(f"{self.root}: no photo {image_id!r} in {', '.join(self.parts)}")
        return split, name


def refuse_tangled(content: Mapping[str, Any], path: Path) -> None:
    """DataError for numbers of COCO-JSON that stand for two things, or for none."""
    for kind in ("images", "categories"):
        last = {one["id"]: one for one in content[kind]}
        twice = [one["id"] for one in content[kind] if last[one["id"]] != one]
        if twice:  # as files have that were joined: whose objects are whose?
            raise DataError(f"{path}: id {twice[0]} stands for two of its {kind}; number them "
                            "anew, and the annotations with them")
    for kind, key in (("photo", "image"), ("category", "category")):
        known = {one["id"] for one in content["images" if kind == "photo" else "categories"]}
        lost = [one for one in content["annotations"] if one[f"{key}_id"] not in known]
        if lost:
            raise DataError(f"{path}: annotation {lost[0].get('id')} is of {kind} "
                            f"{lost[0][f'{key}_id']}, which the file does not list")


_PARSING = threading.Lock()


class _Annotations:
    """One JSON file, read when it is first needed."""

    def __init__(self, path: Path, classes: Sequence[str] | None) -> None:
        self.path, self.expected, self._parsed = path, classes, None
        if not path.is_file():
            raise DataError(f"{path}: no such annotation file (data.annotations)")

    @property
    def _content(self):
        with _PARSING:  # `cached_property` lets several threads parse at once
            if self._parsed is None:
                self._parsed = self._parse()
            return self._parsed

    def _parse(self):
        try:
            content = json.loads(self.path.read_text(encoding="utf-8-sig"))
            photos = {p["id"]: p for p in content["images"]}
            categories = sorted(content["categories"], key=lambda c: c["id"])
            objects = defaultdict(list)
            for one in content["annotations"]:
                objects[one["image_id"]].append(
                    {"id": one["id"], "category": one["category_id"],
                     "crowd": bool(one.get("iscrowd", 0)), "shape": one["segmentation"]})
            sizes = [(p["file_name"], p["height"], p["width"]) for p in photos.values()]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: not COCO-JSON ({type(error).__name__}: {error}); "
                            "images, annotations and categories are expected") from None
        refuse_tangled(content, self.path)
        if len({name for name, _, _ in sizes}) < len(sizes):
            raise DataError(f"{self.path}: a file name stands twice among its images")
        names = [c["name"] for c in categories]
        unknown = [name for name in names if self.expected and name not in self.expected]
        if unknown:
            raise DataError(f"{self.path}: category {unknown[0]!r} is none of COCO's 80; for one's "
                            "own classes give the file as data.annotations")
        return photos, categories, objects

    @cached_property
    def classes(self) -> tuple[str, ...]:
        names = tuple(c["name"] for c in self._content[1])
        if not names or len(set(names)) < len(names) or len(names) > 254:
            raise DataError(f"{self.path}: 1 to 254 categories of different names are expected; "
                            f"found {len(names)}, {len(set(names))} different")
        return names

    @cached_property
    def _class_ids(self):
        """{category id of the JSON: class id}."""
        classes = self.expected or self.classes
        return {c["id"]: classes.index(c["name"]) + 1 for c in self._content[1]}

    @cached_property
    def photos(self) -> dict[str, tuple[dict, list[dict]]]:
        """{file name: (photo, its annotations)} of photos with any annotation."""
        photos, _, objects = self._content
        return {photos[i]["file_name"]: (photos[i], some) for i, some in objects.items()}

    @property
    def names(self) -> list[str]:
        return sorted(self.photos)

    def size(self, name: str) -> tuple[int, int]:
        """(height, width) in pixels."""
        photo = self.photos[name][0]
        return photo["height"], photo["width"]

    def class_ids(self, name: str) -> list[int]:
        return sorted({self._class_ids[o["category"]] for o in self.photos[name][1]
                       if not o["crowd"]})

    def objects(self, name: str) -> list[tuple[int, np.ndarray]]:
        """[(class id, bool [H, W])] of the objects that are no crowd."""
        return [(self._class_ids[o["category"]], self._raster(name, o))
                for o in self.photos[name][1] if not o["crowd"]]

    def union(self, name: str, class_id: int) -> np.ndarray:
        """bool [H, W]: any object of a class."""
        inside = np.zeros(self.size(name), bool)
        for one in self.photos[name][1]:
            if not one["crowd"] and self._class_ids[one["category"]] == class_id:
                inside |= self._raster(name, one)
        return inside

    def crowds(self, name: str) -> dict[int, int]:
        found: dict[int, int] = defaultdict(int)
        for one in self.photos[name][1]:
            if one["crowd"]:
                found[self._class_ids[one["category"]]] += int(self._raster(name, one).sum())
        return {class_id: area for class_id, area in found.items() if area}

    def crowd(self, name: str) -> np.ndarray:
        """bool [H, W]: crowd regions of any class."""
        inside = np.zeros(self.size(name), bool)
        for one in self.photos[name][1]:
            if one["crowd"]:
                inside |= self._raster(name, one)
        return inside

    def _raster(self, name, one):
        """bool [H, W] of one annotation; polygons without area have no pixel."""
        height, width = self.size(name)
        shape = one["shape"]
        try:
            if isinstance(shape, list):
                if any(isinstance(p, dict) for p in shape):
                    raise TypeError("a list of run lengths")
                shape = [p for p in shape if len(p) >= 6]
                if not shape:
                    return np.zeros((height, width), bool)
                coder = _pycocotools()
                code = coder.merge(coder.frPyObjects(shape, height, width))
                inside = coder.decode(code).astype(bool)
            else:
                inside = mask_of_run_lengths(shape).astype(bool)
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise DataError(f"{self.path}: annotation {one['id']} is neither polygons nor run "
                            f"lengths ({error})") from None
        if inside.shape != (height, width):
            raise DataError(f"{self.path}: annotation {one['id']} is of {inside.shape[1]} x "
                            f"{inside.shape[0]} pixels, its photo of {width} x {height}")
        return inside


def _pycocotools():
    try:
        from pycocotools import mask
    except ImportError:
        raise DataError("COCO annotations need pycocotools: pip install 'sst-tf[coco]'") from None
    return mask
