# SPDX-License-Identifier: Apache-2.0
"""Pairs of photo and class: read from lists, split into base and novel, held out."""

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import DataError
from pipelines.reading.lists import read_lines
from pipelines.renamed import renamed
from pipelines.sources import Source


class Pair(NamedTuple):
    """A class in a photo; area in pixels at the photo's own size."""

    image_id: str
    class_id: int
    area: int


@dataclass(frozen=True)
class Index:
    """Pairs that a filter keeps, and every class with any pixel in a photo, before the filter."""

    pairs: tuple[Pair, ...]
    classes_of: dict[str, frozenset[int]]

    def of(self, image_ids: Collection[str]) -> "Index":
        """What it has of these photos, in its own order."""
        asked = set(image_ids)
        return Index(tuple(pair for pair in self.pairs if pair.image_id in asked),
                     {name: classes for name, classes in self.classes_of.items() if name in asked})


def read_pairs(path: str | os.PathLike, classes: int, source: Source | None = None) -> list[Pair]:
    """Pairs of a list, in its order.

    Args:
        path: text file with `<image id>__<class number>` a line, the form of hsnet's lists, or
            JSON lines as `sst index` writes them.
        classes: number of classes.
        source: a source whose masks give the areas; without one they are 0.
    Raises:
        DataError: no such file, one that is no UTF-8 text, or a line of another form, by its
            number.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such list of pairs")
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        name, class_id = _pair_of(line.strip())
        if not name or not 1 <= class_id <= classes:
            raise DataError(f"{path}: line {number}, {line.strip()!r}: <image id>__<class number> "
                            f"or its JSON is expected, the number 1 to {classes}")
        area = 0 if source is None else int((source.class_mask(name, class_id) == 1).sum())
        pairs.append(Pair(name, class_id, area))
    if len(set(p[:2] for p in pairs)) < len(pairs):
        raise DataError(f"{path}: a pair stands twice")
    return pairs


def _pair_of(line):
    """(image id, class number) of a line; ("", 0) of one in another form."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
            return str(fields["image"]), int(fields["class_id"])
        except (ValueError, KeyError, TypeError):
            return "", 0
    name, _, text = line.rpartition("__")
    return name, int(text) if text.isdigit() else 0


@renamed(novel="novel_policy")
def split_pairs(index: Index, novel_ids: Collection[int], split: str,
                novel_policy: str = "drop") -> list[Pair]:
    """Pairs of the "base" or "novel" classes.

    Args:
        index: of `build_index`.
        novel_ids: class numbers of the novel classes.
        split: "base" or "novel".
        novel_policy: base photos that hold any pixel of a novel class are left out with "drop";
            with "keep" and "ignore255" they stay (the reader turns their novel pixels into 255).
    Raises:
        DataError: an unknown split or novel policy.
    """
    if split not in ("base", "novel"):
        raise DataError(f"split {split!r}: base or novel is expected")
    if novel_policy not in ("drop", "keep", "ignore255"):
        raise DataError(f"novel policy {novel_policy!r}: drop, keep or ignore255 is expected "
                        "(data.novel_policy)")
    chosen = set(novel_ids)
    if split == "novel":
        return [p for p in index.pairs if p.class_id in chosen]
    base = [p for p in index.pairs if p.class_id not in chosen]
    if novel_policy == "drop":
        base = [p for p in base if not index.classes_of[p.image_id] & chosen]
    return base


def holdout(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Two lists of pairs with disjoint photos; about `share` of the photos in the second.

    A photo's side depends on (seed, id) alone, whatever else is in the list.
    """
    def held(image_id):
        digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    return ([p for p in pairs if not held(p.image_id)], [p for p in pairs if held(p.image_id)])
