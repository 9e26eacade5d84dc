"""Which episodes: each a pure function of (seed, episode number)."""

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.errors import DataError


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

    def __init__(self, pairs, shots, seed, mismatched=False, skip_small=False, class_names=None):
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
        if len(self.classes) < (2 if mismatched else 1):
            raise DataError(f"{len(self.classes)} classes have more than {shots} photos; episodes "
                            f"need {'two' if mismatched else 'one'}: add photos or check "
                            "data.rule, data.novel and the split")

    def episode(self, number):
        """Episode `number`, a pure function of (seed, number)."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, number])))
        class_id = self.classes[rng.integers(len(self.classes))]
        photos = self.photos[class_id]
        drawn = rng.choice(len(photos), self.shots + 1, replace=False)
        query, support = photos[drawn[0]], tuple(photos[i] for i in drawn[1:])
        support_class = class_id
        if self.mismatched:
            others = [c for c in self.classes if c != class_id]
            support_class = others[rng.integers(len(others))]
            pool = [p for p in self.photos[support_class] if p != query]
            support = tuple(pool[i] for i in rng.choice(len(pool), self.shots, replace=False))
        return Episode(number, class_id, support, query, support_class)

    def take(self, count, start=0):
        """Episodes `start` .. `start + count - 1`."""
        return [self.episode(i) for i in range(start, start + count)]


def dump_episodes(episodes, path):
    """Write episodes as JSON lines, under a temporary name first."""
    partial = Path(f"{path}.tmp")
    partial.write_text(_text(episodes), encoding="utf-8")
    os.replace(partial, path)


def load_episodes(path):
    """Read episodes that `dump_episodes` wrote.

    Raises:
        DataError: no such file, or a line that is no episode.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file of episodes; write it with dump_episodes")
    episodes = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            fields = json.loads(line)
            episodes.append(Episode(**{**fields, "support": tuple(fields["support"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}: line {number} is no episode ({error})") from None
    return episodes


def episodes_sha256(episodes):
    """Hash over the canonical text: equal episodes, equal hash."""
    return hashlib.sha256(_text(episodes).encode()).hexdigest()


def _text(episodes):
    return "".join(json.dumps(e._asdict(), sort_keys=True) + "\n" for e in episodes)
