# SPDX-License-Identifier: Apache-2.0
"""A data set's photos and masks, resized once and kept as records for random access."""

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipelines.errors import DataError, check_whole
from pipelines.index.build import look
from pipelines.reading.files import length_and_time
from pipelines.reading.transforms import RESIZE_METHOD, resize_class_mask, resize_image
from pipelines.sealed import write_sealed
from pipelines.sources import Source
from pipelines.sources.records import (
    FACTS,
    FORMAT,
    MASKS,
    NO_CLASS,
    PHOTOS,
    RecordsSource,
    is_records,
)
from pipelines.writing import making

MADE_BY = ("array_record", "tensorflow", "opencv-python-headless")
AT_ONCE = 64  # photos in memory
# Photos hardly shrink by compression and would cost time at each reading; masks do.
PACKING = {PHOTOS: "group_size:1,uncompressed", MASKS: "group_size:1,zstd:3"}


def records(source: Source, output: str | os.PathLike, image_size: int,
            splits: Sequence[str] = ("all",), progress: bool = False) -> Path:
    """Write records of a data set; returns their folder.

    Photos become S x S by `transforms.resize_image`, the mask of each class by
    `resize_class_mask`: what `episode_dataset` does with them, so its episodes have the same bits
    from here. All is written into a folder beside `output`, which is renamed at the end; one that
    a killed process left is removed.

    Args:
        source: any `pipelines.sources.Source`.
        output: folder; of one that holds records of the same data set and settings nothing is
            made again.
        image_size: side S in pixels.
        splits: whose photos to take; they can be asked for by these names, and as "all".
        progress: show a bar.
    Raises:
        DataError: another folder at `output`, a damaged photo or mask, an unknown split, a source
            whose photos label different classes.
    """
    check_whole(1, image_size=image_size)
    output = Path(output)
    if hasattr(source, "labels"):
        raise DataError(f"{source.name}: not all of its photos label all classes, which records "
                        "do not keep; prepare its parts and join their records")
    ids_of = {split: source.image_ids(split) for split in splits}
    image_ids = list(dict.fromkeys(i for ids in ids_of.values() for i in ids))
    settings = {"image_size": image_size, "classes": list(source.classes),
                "splits": {split: ids for split, ids in ids_of.items() if split != "all"}}
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        return _same(output, source, settings, image_ids)
    with making(output.parent) as partial:
        try:
            facts, classes, digest = _write(partial, source, image_ids, image_size, progress)
            write_sealed(partial / FACTS, {
                "format": FORMAT, **settings, "photos": facts, "masks": classes,
                "bytes": {name: (partial / name).stat().st_size for name in PACKING},
                "made_of": {"dataset": source.name, "sha256": digest, "resize": RESIZE_METHOD,
                            "root": os.path.abspath(getattr(source, "root", "")),
                            "files": _files(source, image_ids),
                            "versions": {name: importlib.metadata.version(name)
                                         for name in MADE_BY}}})
            RecordsSource(partial).whole()
            if output.exists():
                output.rmdir()  # an empty one
            partial.replace(output)
        except (OSError, RuntimeError) as error:  # ArrayRecord raises the latter
            reason = str(error).splitlines()[0]
            raise DataError(f"--output {output}: cannot be written ({reason}); see that the disk "
                            "has room") from None
    return output


def _same(output, source, settings, image_ids):
    """The records that are there, if they are the ones asked for."""
    if not is_records(output):
        raise DataError(f"--output {output}: holds something else than records; name a new folder")
    there = RecordsSource(output, source.name)
    found = {"image_size": there.stored_size, "classes": list(there.classes),
             "splits": there.splits}
    different = [key for key in settings if settings[key] != found[key]]
    if different or there.image_ids("all") != image_ids:
        raise DataError(f"--output {output}: holds records of other {different or ['photos']}; "
                        "name a new folder or remove this one")
    made_of = there.provenance.get("files")
    if made_of is not None and made_of != _files(source, image_ids):
        raise DataError(f"--output {output}: holds records of other files, or of these before they "
                        "changed; name a new folder or remove this one")
    return output


def _files(source, image_ids):
    """Hash of the sizes and times of the photos' and masks' files; None of a source without."""
    if not (files := getattr(source, "files", None)):
        return None
    digest = hashlib.sha256()
    for path in dict.fromkeys(path for image_id in image_ids for path in files(image_id)):
        digest.update(repr((path.name, length_and_time(path))).encode())
    return digest.hexdigest()


def _write(folder, source, image_ids, size, progress):
    """Facts and classes of masks by photo, hash of all photos and masks before they were resized.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    def prepared(image_id) -> tuple[Sequence, bytes, dict[int, bytes], bytes]:
        """Facts, photo, a mask for each class, and a hash of what they were made of."""
        source.check(image_id)
        image, masks = source.read_image(image_id), source.class_masks(image_id)
        seen = look(source, image_id, masks)
        planes = dict(sorted(masks.items())) | _void(source, image_id, masks)
        digest = hashlib.sha256(f"{image_id} {image.shape} {sorted(planes)}".encode())
        for array in (image, *planes.values()):
            digest.update(np.ascontiguousarray(array).data)
        return (seen, resize_image(image, size).numpy().tobytes(),
                {int(number): resize_class_mask(mask, size).numpy().tobytes()
                 for number, mask in planes.items()}, digest.digest())

    facts, classes, digest = {}, {}, hashlib.sha256()
    writers: dict[str, Any] = {name: ArrayRecordWriter(str(folder / name), how)
                               for name, how in PACKING.items()}
    for image_id, (seen, photo, masks, part) in zip(image_ids, tqdm(
            _all(prepared, image_ids), desc="records", total=len(image_ids), unit="photo",
            disable=not progress), strict=True):
        facts[image_id], classes[image_id] = seen, list(masks)
        digest.update(part)
        writers[PHOTOS].write(photo)
        for mask in masks.values():
            writers[MASKS].write(mask)
    for writer in writers.values():
        writer.close()
    return facts, classes, digest.hexdigest()


def _void(source, image_id, masks):
    """{NO_CLASS: mask of a class that the photo does not show}, unless another mask has it all."""
    absent = next((number for number in range(1, len(source.classes) + 1) if number not in masks),
                  None)
    if absent is None:
        return {}
    mask = np.asarray(source.class_mask(image_id, absent))
    if masks and np.array_equal(mask, np.where((first := masks[min(masks)]) == 1, 0, first)):
        return {}
    return {NO_CLASS: mask}


def _all(function: Callable, items: Sequence) -> Iterator:
    """Results in order, of so many items at a time that memory holds them."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), AT_ONCE):
            yield from pool.map(function, items[start:start + AT_ONCE])
