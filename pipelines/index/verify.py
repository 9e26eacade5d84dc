# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a data set, at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from pipelines.errors import DataError
from pipelines.sources import Source


def verify(source: Source, split: str = "all", shots: int = 1,
           progress: bool = False) -> tuple[int, list[str]]:
    """Read every photo and mask of a split in full.

    Args:
        source: a `pipelines.sources.Source`.
        shots: classes with fewer than shots + 1 sound photos are told too.
    Returns:
        (photos read, lines): a line a problem, each with its file and remedy; empty if all is well.
    """
    try:
        image_ids = source.image_ids(split)
    except DataError as error:
        return 0, [str(error)]

    def look(image_id):
        try:
            source.check(image_id)
            shape, masks = source.read_image(image_id).shape[:2], source.class_masks(image_id)
        except DataError as error:
            return [str(error)], ()
        problems = [f"{image_id}: the mask of {source.classes[c - 1]} is {m.shape[1]} x "
                    f"{m.shape[0]}, the photo {shape[1]} x {shape[0]} (width x height)"
                    for c, m in masks.items() if m.shape != shape]
        if not masks:
            problems.append(f"{image_id}: no pixel of any class; it will never be drawn, take it "
                            "off the split or mark its object")
        return problems, masks.keys()

    problems, photos = [], Counter()
    with ThreadPoolExecutor(4) as pool:
        for found, classes in tqdm(pool.map(look, image_ids), desc="photos and masks",
                                   total=len(image_ids), unit="photo", disable=not progress):
            problems += found
            photos.update(classes)
    for class_id, name in enumerate(source.classes, start=1):
        if photos[class_id] <= shots:
            problems.append(f"class {name}: {photos[class_id]} sound photos, {shots}-shot episodes "
                            f"need {shots + 1}; add photos or take the class off")
    return len(image_ids), problems
