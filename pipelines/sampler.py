# SPDX-License-Identifier: Apache-2.0
"""Which episodes: each a pure function of (seed, episode number)."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.errors import DataError, check_whole
from pipelines.index.pairs import Pair
from pipelines.reading.lists import read_lines
from pipelines.writing import write_text


class Episode(NamedTuple):
    """One episode by name.

    `support_class_id` equals `class_id` but in mismatched episodes, whose supports show another
    class than the one the query is scored for.
    """

    episode_id: int
    class_id: int
    support: tuple[str, ...]
    query: str
    support_class_id: int


class WayEpisode(NamedTuple):
    """One episode of N ways by name: the query is scored for all its classes at once."""

    episode_id: int
    class_id: tuple[int, ...]  # [N]
    support: tuple[tuple[str, ...], ...]  # [N][k]
    query: str


def draw(number: int, seed: int, counts: Sequence[int], shots: int, power: float = 0.0,
         absent: float = 0.0, lacking: np.ndarray | None = None) -> np.ndarray:
    """Which class and which photos episode `number` takes: a pure function.

    Args:
        counts: photos of each class, [C]; the photos of all classes stand in one list, class by
            class, so that a photo of two classes stands there twice.
        power: classes are drawn in proportion to `counts ** power`; 0 draws all alike.
        absent: share of the episodes whose query does not show the class.
        lacking: [sum(counts), C] bool, which photo of the list is known to lack which class; read
            where `absent` > 0. A class that no photo lacks has no such episodes.

    Returns:
        int64 [1 + 1 + shots]: the class's place in `counts`, then the places in the list of the
        query and of `shots` supports, all different photos.
    """
    return _draw(_generator(seed, number), counts, shots, power, absent, lacking)


def _generator(seed, number):
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(seed), int(number)])))


def _draw(rng, counts, shots, power=0.0, absent=0.0, lacking=None):
    if power == 0:
        place = rng.integers(len(counts))
    else:
        below = np.cumsum(np.asarray(counts, np.float64) ** power)
        place = min(np.searchsorted(below, rng.random() * below[-1], "right"), len(counts) - 1)
    photos = int(np.sum(counts[:place])) + rng.choice(counts[place], shots + 1, replace=False)
    if absent and rng.random() < absent:
        without = np.flatnonzero(lacking[:, place])
        if len(without):
            photos[0] = without[rng.integers(len(without))]
    return np.array([place, *photos], np.int64)


class EpisodeSampler:
    """Draws episodes: a class, then a query and k supports, all different photos.

    Args:
        pairs: `pipelines.index.Pair`s to draw from.
        shots: k.
        seed: episode i depends on (seed, i) alone: any order, any process, the same episodes.
        mismatched: supports of another class, for checking that the support matters.
        skip_small: leave out classes with fewer than k + 1 photos and list their names (or ids)
            in `skipped`; otherwise such a class is an error.
        class_names: for messages.
        power: classes are drawn in proportion to their number of photos to this power: 0 draws
            all alike (the published protocols), 0.5 shows a thin class less often.
        absent: share of the episodes whose query shows another class instead (its mask is empty).
        lacks: whether a photo is known to lack a class, by photo id and class id; for `absent`.
        photos: what the photos are, for messages.
        remedy: what to do where no class is left, for messages.

    Attributes:
        classes: class ids, [C].
        counts: photos of each, [C].
        listed: photo ids, class by class, [sum(counts)].
    Raises:
        DataError: a class with too few photos, or none left.
    """

    def __init__(self, pairs: Sequence[Pair], shots: int, seed: int, mismatched: bool = False,
                 skip_small: bool = False, class_names: Sequence[str] | None = None,
                 power: float = 0.0, absent: float = 0.0,
                 lacks: Callable[[str, int], bool] | None = None, photos: str = "photos",
                 remedy: str = "add photos or check data.pair_filter, data.novel_policy and the "
                               "split") -> None:
        check_whole(1, shots=shots)
        check_whole(0, seed=seed)
        shown = defaultdict(set)
        for pair in pairs:
            shown[pair.class_id].add(pair.image_id)
        self.shots, self.seed, self.mismatched = shots, seed, mismatched
        self.power, self.absent = power, absent
        self.skipped, self.photos = [], {}
        for class_id in sorted(shown):
            name = class_names[class_id - 1] if class_names else str(class_id)
            if len(shown[class_id]) > shots:
                self.photos[class_id] = sorted(shown[class_id])
            elif skip_small:
                self.skipped.append(name)
            else:
                raise DataError(f"class {name}: {len(shown[class_id])} photos, {shots}-shot "
                                f"episodes need {shots + 1}; add photos, use fewer shots or take "
                                "the class off")
        self.classes = list(self.photos)
        self.counts = [len(names) for names in self.photos.values()]
        self.listed = [name for names in self.photos.values() for name in names]
        if len(self.classes) < (2 if mismatched else 1):
            raise DataError(f"{len(self.classes)} classes have more than {shots} {photos}; "
                            f"episodes need {'two' if mismatched else 'one'}: {remedy}")
        self.lacking = np.zeros((len(self.listed), len(self.classes)), bool)
        if absent:
            if mismatched or lacks is None:
                raise DataError("absent queries need `lacks`, and supports of the class itself")
            self.lacking[:] = [[lacks(name, c) for c in self.classes] for name in self.listed]

    def episode(self, number: int) -> Episode:
        """Episode `number`, a pure function of (seed, number)."""
        rng = _generator(self.seed, number)
        place, *drawn = _draw(rng, self.counts, self.shots, self.power, self.absent, self.lacking)
        class_id = self.classes[place]
        query, *support = (self.listed[i] for i in drawn)
        support_class = class_id
        if self.mismatched:
            others = [c for c in self.classes if c != class_id]
            support_class = others[rng.integers(len(others))]
            pool = [p for p in self.photos[support_class] if p != query]
            support = [pool[i] for i in rng.choice(len(pool), self.shots, replace=False)]
        return Episode(number, class_id, tuple(support), query, support_class)

    def take(self, count: int, start: int = 0) -> list[Episode]:
        """Episodes `start` .. `start + count - 1`."""
        return [self.episode(i) for i in range(start, start + count)]


TRIES = 1000  # draws of N classes for a query that labels all of them


class WaySampler:
    """Draws episodes of N ways: N classes, a query that shows one of them, k supports of each.

    All photos of an episode differ (PANet's rule).

    Args:
        pairs: `pipelines.index.Pair`s to draw from.
        ways, shots: N and k.
        seed: episode i depends on (seed, i) alone.
        class_names: for messages.
        labels: which classes are labelled in a photo, by its id, where not all are: a query is one
            whose labels hold all N classes, as the others may be in it unmarked.
    Raises:
        DataError: fewer than N classes, or a class whose photos may run out in an episode.
    """

    def __init__(self, pairs: Sequence[Pair], ways: int, shots: int, seed: int,
                 class_names: Sequence[str] | None = None,
                 labels: Callable[[str], frozenset[int]] | None = None) -> None:
        check_whole(1, ways=ways, shots=shots)
        check_whole(0, seed=seed)
        self.ways, self.shots, self.seed, self.labels = ways, shots, seed, labels
        photos = defaultdict(set)
        for pair in pairs:
            photos[pair.class_id].add(pair.image_id)
        self.photos = {class_id: sorted(photos[class_id]) for class_id in sorted(photos)}
        if len(self.photos) < ways:
            raise DataError(f"{len(self.photos)} classes have photos, {ways}-way episodes need "
                            f"{ways}: fewer ways, or check data.pair_filter, "
                            "data.novel_policy and the split")
        for class_id, names in self.photos.items():
            if len(names) < ways * shots + 1:
                name = class_names[class_id - 1] if class_names else class_id
                raise DataError(f"class {name}: {len(names)} photos, {ways}-way {shots}-shot "
                                f"episodes need {ways * shots + 1}; add photos, use fewer ways or "
                                "shots or take the class off")

    def episode(self, number: int) -> WayEpisode:
        """Episode `number`, a pure function of (seed, number)."""
        rng = _generator(self.seed, number)
        classes = list(self.photos)
        for _ in range(TRIES):
            drawn = [classes[i] for i in rng.choice(len(classes), self.ways, replace=False)]
            pool = self.photos[drawn[rng.integers(self.ways)]]
            if self.labels is not None:
                pool = [photo for photo in pool if self.labels(photo).issuperset(drawn)]
            if pool:
                break
        else:
            raise DataError(f"{TRIES} times no photo that labels all of {self.ways} classes: fewer "
                            "ways, or parts that have more classes in common")
        taken = [pool[rng.integers(len(pool))]]
        support = []
        for class_id in drawn:
            pool = [photo for photo in self.photos[class_id] if photo not in taken]
            support.append(tuple(pool[i] for i in rng.choice(len(pool), self.shots, replace=False)))
            taken.extend(support[-1])
        return WayEpisode(number, tuple(drawn), tuple(support), taken[0])

    def take(self, count: int, start: int = 0) -> list[WayEpisode]:
        """Episodes `start` .. `start + count - 1`."""
        return [self.episode(i) for i in range(start, start + count)]


def dump_episodes(episodes: Iterable[Episode | WayEpisode], path: str | os.PathLike) -> None:
    """Write episodes as JSON lines, never half a file."""
    write_text(path, _text(episodes))


def load_episodes(path: str | os.PathLike) -> list[Episode | WayEpisode]:
    """Read episodes that `dump_episodes` wrote.

    Raises:
        DataError: no such file, or a line that is no episode.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file of episodes; write it with dump_episodes")
    episodes = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            episodes.append(_episode(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}: line {number} is no episode ({error})") from None
    return episodes


def episodes_sha256(episodes: Iterable[Episode | WayEpisode]) -> str:
    """Hash over the canonical text: equal episodes, equal hash."""
    return hashlib.sha256(_text(episodes).encode()).hexdigest()


def _episode(fields):
    support, ways = fields["support"], isinstance(fields["class_id"], list)
    numbers = [fields["episode_id"], *(fields["class_id"] if ways else
                                       (fields["class_id"], fields["support_class_id"]))]
    lists = support if ways else [support]
    if not all(isinstance(one, list) for one in (support, *lists)):
        raise ValueError("support is no list")
    names = [fields["query"], *(name for one in lists for name in one)]
    if {*map(type, names)} != {str} or {*map(type, numbers)} != {int}:
        raise ValueError("ids of photos are texts, of episodes and classes whole numbers")
    if ways:
        return WayEpisode(**{**fields, "class_id": tuple(fields["class_id"]),
                             "support": tuple(map(tuple, support))})
    return Episode(**{**fields, "support": tuple(support)})


def _text(episodes):
    return "".join(json.dumps(e._asdict(), sort_keys=True) + "\n" for e in episodes)
