# SPDX-License-Identifier: Apache-2.0
"""How the field's papers draw and score their test episodes, by name.

A preset reproduces a protocol: which queries, which supports, how many, under which seeds. The
published episodes themselves depend on worker counts, Python versions and file orders. Only
hsnet's, drawn by one process, can be repeated exactly, with its list (`index.read_pairs`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.errors import DataError
from pipelines.index.pairs import Pair
from pipelines.renamed import renamed
from pipelines.sampler import Episode


@dataclass(frozen=True)
class Protocol:
    """One paper's test.

    Attributes:
        name: of the method whose code it is read from.
        episodes, seeds: episodes a run, and the seed of each run.
        images: photos tested on, "val" or "trainaug".
        pair_filter: which (photo, class) pairs there are (`index.PAIR_FILTERS`), or "list" for a
            published one.
        query: "pairs", the list in order, again from the start; "shuffled", the list in order, then
            in shuffled copies; "photos", the photos in order with one of their novel classes; or
            "classes", a class, then a photo of it.
        support: k "distinct" photos, or "independent" draws that may repeat.
        image_size: side in pixels; `resize` "squash" or "pad" (aspect kept, padded).
        scoring: IoU at the "network"'s size or at the "original" one.
        void_query, void_support: pixels of 255 count as "background" or are "ignored".
    """

    name: str
    episodes: int
    seeds: tuple[int | None, ...]
    images: Literal["val", "trainaug"]
    pair_filter: Literal["none", "area2048", "oslsm", "list"]
    query: Literal["pairs", "shuffled", "photos", "classes"]
    support: Literal["distinct", "independent"]
    image_size: int
    resize: Literal["squash", "pad"]
    scoring: Literal["network", "original"]
    void_query: Literal["background", "ignored"]
    void_support: Literal["background", "ignored"]

    @property
    def runs(self) -> int:
        """How many runs over other episodes the protocol has."""
        return len(self.seeds)


Protocol.__init__ = renamed(rule="pair_filter")(Protocol.__init__)  # type: ignore[method-assign]

# Facts of the published code: icoz69/CaNet, juhongm999/hsnet, dvlab-research/PFENet,
# mboudiaf/RePRI-for-Few-Shot-Segmentation, kaixin96/PANet, chunbolang/BAM.
PROTOCOLS = {protocol.name: protocol for protocol in (
    Protocol("canet", 1000, (None,), "val", "oslsm", "shuffled", "distinct", 321, "squash",
             "network", "background", "background"),
    Protocol("hsnet", 1000, (0,), "val", "list", "pairs", "independent", 400, "squash",
             "network", "ignored", "background"),
    Protocol("pfenet", 5000, (321,), "val", "area2048", "photos", "distinct", 473, "pad",
             "original", "ignored", "ignored"),
    Protocol("repri", 1000, (2020,) * 5, "val", "area2048", "photos", "distinct", 417, "pad",
             "network", "ignored", "ignored"),
    Protocol("panet", 1000, tuple(1234 + run for run in range(5)), "trainaug", "none", "classes",
             "distinct", 417, "squash", "network", "ignored", "background"),
    Protocol("bam", 1000, (510, 365, 382, 322, 988), "val", "area2048", "photos", "distinct", 473,
             "pad", "original", "ignored", "ignored"),
)}


def protocol(name: str) -> Protocol:
    """A preset by name.

    Raises:
        DataError: an unknown name.
    """
    if name not in PROTOCOLS:
        raise DataError(f"protocol {name!r}: {', '.join(PROTOCOLS)} are known")
    return PROTOCOLS[name]


def protocol_episodes(preset: Protocol, pairs: Sequence[Pair], shots: int, run: int = 0,
                      count: int | None = None) -> list[Episode]:
    """The episodes of one run.

    Args:
        preset: a `Protocol`.
        pairs: `index.Pair`s of the novel classes, in the order of the list or index.
        shots: k.
        run: 0 .. runs - 1; where all runs share a seed, later ones go on drawing.
        count: another number of episodes than the protocol's.

    Returns:
        List of `sampler.Episode`; the same for the same arguments, on any machine.
    Raises:
        DataError: no pairs; a class with fewer than k + 1 photos (2 where supports may repeat).
    """
    if not pairs:
        raise DataError(f"protocol {preset.name}: no pair of a novel class to test on; check its "
                        "list, the pair filter and the split")
    if not 0 <= run < preset.runs:
        raise DataError(f"protocol {preset.name}: run {run}; it has {preset.runs}")
    photos = {}
    for pair in pairs:
        photos.setdefault(pair.class_id, []).append(pair.image_id)
    need = 2 if preset.support == "independent" else shots + 1
    for class_id, names in photos.items():
        if len(names) < need:
            raise DataError(f"class {class_id}: {len(names)} photos, {shots}-shot episodes of "
                            f"{preset.name} need {need}")
    count = count or preset.episodes
    seed = preset.seeds[run]
    skipped = sum(1 for earlier in preset.seeds[:run] if earlier == seed)
    rng = np.random.RandomState(seed or 0)  # the generator that these papers' code has
    queries = _queries(preset.query, [(p.image_id, p.class_id) for p in pairs], photos, rng)
    episodes = []
    for number in range(count * (skipped + 1)):
        query, class_id = next(queries)
        episodes.append(Episode(number - count * skipped, class_id,
                                _supports(preset, photos[class_id], query, shots, rng), query,
                                class_id))
    return episodes[-count:]


def _queries(kind, pairs, photos, rng):
    """Endless (photo, class id)."""
    if kind == "classes":
        classes = sorted(photos)
        while True:
            class_id = classes[rng.randint(len(classes))]
            yield photos[class_id][rng.randint(len(photos[class_id]))], class_id
    if kind == "photos":
        classes_of = {}
        for name, class_id in pairs:
            classes_of.setdefault(name, []).append(class_id)
        while True:
            for name, found in classes_of.items():
                yield name, found[rng.randint(len(found))]
    order = np.arange(len(pairs))
    while True:
        yield from (pairs[i] for i in order)
        if kind == "shuffled":
            order = rng.permutation(len(pairs))


def _supports(preset, names, query, shots, rng):
    """k photos of the class, never the query."""
    chosen = []
    while len(chosen) < shots:
        # A draw of one without replacement, as hsnet has it: another call, other episodes.
        name = str(rng.choice(names, 1, replace=False)[0])
        if name != query and (preset.support == "independent" or name not in chosen):
            chosen.append(name)
    return tuple(chosen)
