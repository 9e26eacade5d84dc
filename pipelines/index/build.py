# SPDX-License-Identifier: Apache-2.0
"""Masks to pairs: each mask is read once, and again only when its files have changed."""

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from pipelines.errors import DataError
from pipelines.index.cache import IndexCache
from pipelines.index.pairs import Index, Pair, read_pairs
from pipelines.reading.files import is_text, read_header, shown
from pipelines.renamed import renamed
from pipelines.sources import Source

PAIR_FILTERS = {  # of a class's pixels in a photo, [H, W] bool
    "none": lambda inside: inside.any(),
    "area2048": lambda inside: inside.sum() >= 2048,  # PFENet
    "oslsm": lambda inside: inside[::32, ::32].sum() > 2,  # Shaban et al., usual paraphrase
}
CACHE = "cache/index"


class Seen(NamedTuple):
    """A class in a photo: its pixels, and the names of the filters that keep it."""

    class_id: int
    area: int
    kept: tuple[str, ...]


Facts = Mapping[str, Sequence[Seen]]


@renamed(rule="pair_filter")
def build_index(source: Source, image_ids: Sequence[str], pair_filter: str = "none",
                progress: bool = False, cache: str | os.PathLike | None = CACHE,
                facts: Facts | None = None) -> Index:
    """Read every mask once and apply a pair filter.

    Args:
        source: a `pipelines.sources.Source`.
        image_ids: photos to index.
        pair_filter: "none" (any pixel), "area2048" (at least 2,048 pixels), "oslsm" (more than 2
            pixels of `mask[::32, ::32]`) or the path of a list that `read_pairs` reads.
        progress: show a bar while masks are read.
        cache: folder where what was read is kept, see `read_facts`.
        facts: of `read_facts`, for several indexes over one reading.
    Raises:
        DataError: the first photo whose files are missing, damaged or disagree; an unknown filter;
            a list with a photo that is none of `image_ids`, or lacks the class.
    """
    if pair_filter not in PAIR_FILTERS and not Path(pair_filter).is_file():
        raise DataError(f"pair filter {pair_filter!r}: {', '.join(PAIR_FILTERS)} or the path of a "
                        "list is expected (data.pair_filter)")
    facts = read_facts(source, image_ids, progress, cache) if facts is None else facts
    name = pair_filter if pair_filter in PAIR_FILTERS else "none"
    pairs = [Pair(image_id, seen.class_id, seen.area)
             for image_id in image_ids for seen in facts[image_id] if name in seen.kept]
    if pair_filter not in PAIR_FILTERS:
        pairs = _listed(pair_filter, read_pairs(pair_filter, len(source.classes)), pairs)
    return Index(tuple(pairs), {image_id: frozenset(s.class_id for s in facts[image_id] if s.area)
                                for image_id in image_ids})


def read_facts(source: Source, image_ids: Sequence[str], progress: bool = False,
               cache: str | os.PathLike | None = CACHE) -> Facts:
    """{photo id: classes in it with their areas, by number}; what every pair filter needs.

    Args:
        source: a `pipelines.sources.Source`. One that has `files(image_id)`, the paths that a
            photo's masks depend on, is read again only where their sizes or times have changed;
            one that has `facts(image_id)` is asked for them, and read where it answers None; of
            one that has `crowds(image_id)` these classes are known to be there, too; of one that
            has `image_path(image_id)` a warning tells of photos that a tag turns.
        image_ids: photos to look at; one that stands twice is read once.
        progress: show a bar while masks are read.
        cache: folder where what was read is kept; None keeps nothing, and so does a folder that
            cannot be written.
    Raises:
        DataError: the first photo whose files are missing, damaged or disagree, or whose id is no
            text that UTF-8 can hold.
    """
    image_ids = list(dict.fromkeys(image_ids))
    strange = next((i for i in image_ids if not is_text(i)), None)
    if strange is not None:  # TensorFlow takes ids as UTF-8 alone
        raise DataError(f"{getattr(source, 'root', source.name)}: photo {shown(strange)}: its name "
                        "is no UTF-8 text, as in old archives; rename photo and mask")
    own = getattr(source, "facts", lambda image_id: None)
    kept = IndexCache(cache, source, tuple(PAIR_FILTERS))
    facts = {}
    for i in image_ids:
        known = own(i)
        if known is None:
            known = kept.known(i)
        if known is not None:
            facts[i] = tuple(Seen(number, area, tuple(names)) for number, area, names in known)
    missing = [i for i in image_ids if i not in facts]

    def read(image_id):
        source.check(image_id)
        return look(source, image_id, source.class_masks(image_id))

    try:
        with ThreadPoolExecutor(4) as pool:
            for image_id, seen in zip(missing, tqdm(
                    pool.map(read, missing), desc="masks", total=len(missing), unit="mask",
                    disable=not progress or not missing), strict=True):
                facts[image_id] = seen
                kept.add(image_id, seen)
    finally:  # a damaged photo costs no second reading of the sound ones before it
        kept.save()
    _tell_turned(source, missing)
    return facts


def _tell_turned(source, image_ids):
    """A warning where masks may lie upside down on photos: nothing else would show it."""
    paths = [path for i in image_ids if (path := _turned_path(source, i))]
    if paths:
        warnings.warn(f"a tag turns or mirrors {len(paths)} of the photos, such as {paths[0]}: "
                      "they are read as stored, without it; where masks were drawn on the photo as "
                      "viewers show it, save it upright without the tag", stacklevel=3)


def _turned_path(source, image_id):
    """A photo's path where a tag turns it, else None."""
    try:
        path = getattr(source, "image_path", lambda image_id: None)(image_id)
        return path if path and read_header(path).turned else None
    except DataError:  # who reads the photo says why
        return None


def look(source: Source, image_id: str, class_masks: Mapping[int, np.ndarray]
         ) -> tuple[Seen, ...]:
    """Facts of a photo's masks {class id: uint8 [H, W]}, by class number, then of its crowds.

    A class of which there is a crowd alone is shown, though it is no pair: neither dropped photos
    nor examples of absence may hold it.
    """
    inside = {c: np.asarray(mask) == 1 for c, mask in class_masks.items()}
    seen = (Seen(int(c), int(inside[c].sum()),
                 tuple(n for n, keep in PAIR_FILTERS.items() if keep(inside[c])))
            for c in sorted(inside))
    crowds = getattr(source, "crowds", lambda image_id: {})(image_id)
    return (*seen, *(Seen(class_id, area, ()) for class_id, area in sorted(crowds.items())
                     if class_id not in inside))


def _listed(path, listed, pairs):
    """The listed pairs in the list's order, with their areas."""
    known = {pair[:2]: pair for pair in pairs}
    for pair in listed:
        if pair[:2] not in known:
            raise DataError(f"{path}: lists class {pair.class_id} in photo {pair.image_id}; no "
                            "photo of this split shows it: another split or another list")
    return [known[pair[:2]] for pair in listed]
