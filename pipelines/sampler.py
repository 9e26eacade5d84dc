# SPDX-License-Identifier: Apache-2.0
"""Which episodes: each a pure function of (seed, episode number)."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.errors import DataError
from pipelines.index.pairs import Pair
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


def draw(number: int, seed: int, counts: Sequence[int], shots: int) -> np.ndarray:
    """Which class and which of its photos episode `number` takes: a pure function.

    Args:
        counts: photos of each class, [C].

    Returns:
        int64 [1 + 1 + shots]: the class's place in `counts`, then the places among its photos of
        the query and of `shots` supports, all different.
    """
    return _draw(_generator(seed, number), counts, shots)


def _generator(seed, number):
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(seed), int(number)])))


def _draw(rng, counts, shots):
    place = rng.integers(len(counts))
    return np.array([place, *rng.choice(counts[place], shots + 1, replace=False)], np.int64)


class EpisodeSampler:
    """Draws episodes: class uniform, then a query and k supports, all different photos.

    Args:
        pairs: `pipelines.index.Pair`s to draw from.
        shots: k.
        seed: episode i depends on (seed, i) alone: any order, any process, the same episodes.
        mismatched: supports of another class, for checking that the support matters.
        skip_small: leave out classes with fewer than k + 1 photos and list their names (or ids)
            in `skipped`; otherwise such a class is an error.
        class_names: for messages.
    Raises:
        DataError: a class with too few photos, or none left.
    """

    def __init__(self, pairs: Sequence[Pair], shots: int, seed: int, mismatched: bool = False,
                 skip_small: bool = False, class_names: Sequence[str] | None = None) -> None:
        photos = defaultdict(set)
        for pair in pairs:
            photos[pair.class_id].add(pair.image_id)
        self.shots, self.seed, self.mismatched = shots, seed, mismatched
        self.skipped, self.photos = [], {}
        for class_id in sorted(photos):
            name = class_names[class_id - 1] if class_names else str(class_id)
            if len(photos[class_id]) > shots:
                self.photos[class_id] = sorted(photos[class_id])
            elif skip_small:
                self.skipped.append(name)
            else:
                raise DataError(f"class {name}: {len(photos[class_id])} photos, {shots}-shot "
                                f"episodes need {shots + 1}; add photos, use fewer shots or take "
                                "the class off")
        self.classes = list(self.photos)
        self.counts = [len(photos) for photos in self.photos.values()]
        if len(self.classes) < (2 if mismatched else 1):
            raise DataError(f"{len(self.classes)} classes have more than {shots} photos; episodes "
                            f"need {'two' if mismatched else 'one'}: add photos or check "
                            "data.pair_filter, data.novel_policy and the split")

    def episode(self, number: int) -> Episode:
        """Episode `number`, a pure function of (seed, number)."""
        rng = _generator(self.seed, number)
        place, *drawn = _draw(rng, self.counts, self.shots)
        class_id = self.classes[place]
        photos = self.photos[class_id]
        query, support = photos[drawn[0]], tuple(photos[i] for i in drawn[1:])
        support_class = class_id
        if self.mismatched:
            others = [c for c in self.classes if c != class_id]
            support_class = others[rng.integers(len(others))]
            pool = [p for p in self.photos[support_class] if p != query]
            support = tuple(pool[i] for i in rng.choice(len(pool), self.shots, replace=False))
        return Episode(number, class_id, support, query, support_class)

    def take(self, count: int, start: int = 0) -> list[Episode]:
        """Episodes `start` .. `start + count - 1`."""
        return [self.episode(i) for i in range(start, start + count)]


class WaySampler:
    """Draws episodes of N ways: N classes, a query that shows one of them, k supports of each.

    All photos of an episode differ (PANet's rule).

    Args:
        pairs: `pipelines.index.Pair`s to draw from.
        ways, shots: N and k.
        seed: episode i depends on (seed, i) alone.
        class_names: for messages.
    Raises:
        DataError: fewer than N classes, or a class whose photos may run out in an episode.
    """

    def __init__(self, pairs: Sequence[Pair], ways: int, shots: int, seed: int,
                 class_names: Sequence[str] | None = None) -> None:
        self.ways, self.shots, self.seed = ways, shots, seed
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
        drawn = [classes[i] for i in rng.choice(len(classes), self.ways, replace=False)]
        pool = self.photos[drawn[rng.integers(self.ways)]]
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
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            episodes.append(_episode(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}: line {number} is no episode ({error})") from None
    return episodes


def episodes_sha256(episodes: Iterable[Episode | WayEpisode]) -> str:
    """Hash over the canonical text: equal episodes, equal hash."""
    return hashlib.sha256(_text(episodes).encode()).hexdigest()


def _episode(fields):
    support = fields["support"]
    if isinstance(fields["class_id"], list):
        return WayEpisode(**{**fields, "class_id": tuple(fields["class_id"]),
                             "support": tuple(map(tuple, support))})
    return Episode(**{**fields, "support": tuple(support)})


def _text(episodes):
    return "".join(json.dumps(e._asdict(), sort_keys=True) + "\n" for e in episodes)
