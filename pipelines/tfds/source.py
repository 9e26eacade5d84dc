# SPDX-License-Identifier: Apache-2.0
"""Photos of a prepared builder, by random access, as a source of episodes."""

from collections.abc import Collection
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pipelines.errors import DataError
from pipelines.reading.photos import decode_photo
from pipelines.sources.masks import VOID, merged


class TFDSSource:
    """A `pipelines.sources.Source` over a prepared builder.

    Args:
        builder: `Pascal5i` or `Coco20i`, prepared with `file_format="array_record"`.
    Raises:
        DataError: a builder that is not prepared, or not for random access.
    """

    def __init__(self, builder: Any) -> None:
        self.name = builder.name
        try:
            self.parts = {split: builder.as_data_source(split, decoders={
                "image": tfds.decode.SkipDecoding()}) for split in builder.info.splits}
        except (NotImplementedError, ValueError, AssertionError) as error:
            raise DataError(f"{builder.name}: no random access ({error}); prepare it "
                            'with download_and_prepare(file_format="array_record")') from None
        if not self.parts:
            raise DataError(f"{builder.name}: not prepared; call download_and_prepare("
                            'file_format="array_record")')
        self.classes = tuple(builder.info.features["masks"]["class_id"].names)
        self.place = {split: {example["image_id"].decode(): i for i, example in enumerate(part)}
                      for split, part in self.parts.items()}

    def image_ids(self, split: str) -> list[str]:
        """Photo ids of "train", "test" or "all"."""
        if split == "all":
            return sorted({i for places in self.place.values() for i in places})
        if split not in self.place:
            raise DataError(f"{self.name}: no split {split!r}; known: all, {', '.join(self.place)}")
        return list(self.place[split])

    def check(self, image_id: str) -> None:
        """A builder's records are whole, or it would not have been prepared."""
        self._example(image_id)

    def read_image(self, image_id: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB of the file's own bytes."""
        try:
            return decode_photo(self._example(image_id)["image"], f"{self.name}, {image_id}")
        except DataError as error:
            raise DataError(f"{error}; prepare the builder again from whole files") from None

    def class_masks(self, image_id: str) -> dict[int, np.ndarray]:
        """{class id: uint8 [H, W] of 0, 1 and 255} of the classes with a pixel in the photo."""
        masks = self._example(image_id)["masks"]
        return {int(c) + 1: mask[..., 0]
                for c, mask in zip(masks["class_id"], masks["mask"], strict=True)}

    def crowds(self, image_id: str) -> dict[int, int]:
        """{class id: pixels} of the crowds in the photo, which no mask of a class holds."""
        found = self._example(image_id)["crowds"]
        return {int(c) + 1: int(area)
                for c, area in zip(found["class_id"], found["area"], strict=True)}

    def class_mask(self, image_id: str, class_id: int,
                   ignore_ids: Collection[int] = ()) -> np.ndarray:
        """uint8 [H, W]: 1 the class, 255 void and other classes of `ignore_ids`, else 0."""
        masks = self.class_masks(image_id)
        mask = np.array(masks.get(class_id, next(iter(masks.values()))))
        if class_id not in masks:
            mask[mask == 1] = 0
        for other in set(ignore_ids) & set(masks) - {class_id}:
            mask[(masks[other] == 1) & (mask != 1)] = VOID
        return mask

    def read_mask(self, image_id: str) -> np.ndarray:
        """uint8 [H, W] of class numbers; the higher one where two classes overlap."""
        masks = self.class_masks(image_id)
        ids = sorted(masks)
        numbers = np.array([0, *ids] + [0] * (255 - len(ids) - 1) + [VOID], np.uint8)
        return numbers[merged(masks, ids)]

    def _example(self, image_id):
        for split, places in self.place.items():
            if image_id in places:
                return self.parts[split][places[image_id]]
        raise DataError(f"{self.name}: no photo {image_id!r}")
