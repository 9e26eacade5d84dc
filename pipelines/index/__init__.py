"""Which (photo, class) pairs there are, and which of them are base, held out or novel."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from pipelines.errors import DataError


class Pair(NamedTuple):
    """A class in a photo; area in pixels at the photo's own size."""

    image_id: str
    class_id: int
    area: int


@dataclass(frozen=True)
class Index:
    """Pairs that a rule keeps, and every class with any pixel in a photo, before the rule."""

    pairs: tuple[Pair, ...]
    classes_of: dict[str, frozenset[int]]


RULES = {  # of a class's pixels in a photo, [H, W] bool
    "none": lambda inside: inside.any(),
    "area2048": lambda inside: inside.sum() >= 2048,  # PFENet
    "oslsm": lambda inside: inside[::32, ::32].sum() > 2,  # Shaban et al., usual paraphrase
}


def build_index(source, image_ids, rule="none", progress=False):
    """Read every mask once and apply a pair rule.

    Args:
        source: a `pipelines.sources.Source`.
        image_ids: photos to index.
        rule: "none" (any pixel), "area2048" (at least 2,048 pixels), "oslsm" (more than 2
            pixels of `mask[::32, ::32]`) or the path of a list that `read_pairs` reads.
    Raises:
        DataError: the first photo whose files are missing, damaged or disagree; an unknown rule;
            a list with a photo that is none of `image_ids`, or lacks the class.
    """
    if rule not in RULES and not Path(rule).is_file():
        raise DataError(f"pair rule {rule!r}: {', '.join(RULES)} or the path of a list is due "
                        "(data.pair_filter)")
    keep = RULES.get(rule, RULES["none"])

    def look(image_id):
        source.check(image_id)
        inside = {c: mask == 1 for c, mask in source.class_masks(image_id).items()}
        return image_id, {c: int(m.sum()) for c, m in inside.items()}, {
            c for c, m in inside.items() if keep(m)}

    pairs, classes_of = [], {}
    with ThreadPoolExecutor(4) as pool:
        looked = pool.map(look, image_ids)
        for image_id, areas, kept in tqdm(looked, desc="masks", total=len(image_ids),
                                          unit="mask", disable=not progress):
            classes_of[image_id] = frozenset(c for c, area in areas.items() if area)
            pairs += [Pair(image_id, c, areas[c]) for c in sorted(kept)]
    if rule not in RULES:
        pairs = _listed(rule, read_pairs(rule, len(source.classes)), pairs)
    return Index(tuple(pairs), classes_of)


def _listed(path, listed, pairs):
    """The listed pairs in the list's order, with their areas."""
    known = {pair[:2]: pair for pair in pairs}
    for pair in listed:
        if pair[:2] not in known:
            raise DataError(f"{path}: lists class {pair.class_id} in photo {pair.image_id}; no "
                            "photo of this split shows it: another split or another list")
    return [known[pair[:2]] for pair in listed]


def read_pairs(path, classes, source=None):
    """Pairs of a list, in its order.

    Args:
        path: text file with `<image id>__<class number>` a line, the form of hsnet's lists, or
            JSON lines as `python -m pipelines.index` writes them.
        classes: number of classes.
        source: a source whose masks give the areas; without one they are 0.
    Raises:
        DataError: no such file, or a line of another form, by its number.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such list of pairs")
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, class_id = _pair_of(line.strip())
        if not name or not 1 <= class_id <= classes:
            raise DataError(f"{path}: line {number}, {line.strip()!r}: <image id>__<class number> "
                            f"or its JSON is due, the number 1 to {classes}")
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


def split_pairs(index, novel_ids, split, novel="drop"):
    """Pairs of the "base" or "novel" classes.

    Args:
        novel: base photos that hold any pixel of a novel class are left out with "drop"; with
            "keep" and "ignore255" they stay (the reader turns their novel pixels into 255).
    Raises:
        DataError: an unknown split or novel rule.
    """
    if split not in ("base", "novel"):
        raise DataError(f"split {split!r}: base or novel is due")
    if novel not in ("drop", "keep", "ignore255"):
        raise DataError(f"novel rule {novel!r}: drop, keep or ignore255 is due (data.novel_policy)")
    chosen = set(novel_ids)
    if split == "novel":
        return [p for p in index.pairs if p.class_id in chosen]
    base = [p for p in index.pairs if p.class_id not in chosen]
    if novel == "drop":
        base = [p for p in base if not index.classes_of[p.image_id] & chosen]
    return base


def holdout(pairs, share, seed):
    """Two lists of pairs with disjoint photos; about `share` of the photos in the second.

    A photo's side depends on (seed, id) alone, whatever else is in the list.
    """
    def held(image_id):
        digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    return ([p for p in pairs if not held(p.image_id)], [p for p in pairs if held(p.image_id)])
