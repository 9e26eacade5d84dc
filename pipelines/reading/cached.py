# SPDX-License-Identifier: Apache-2.0
"""Where decoded episodes are kept, so that no others are read from there."""

import hashlib
import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.sampler import Episode, WayEpisode
from pipelines.sources import Source


def cache_file(where: str | os.PathLike, source: Source,
               episodes: Sequence[Episode | WayEpisode], *options: Any) -> str:
    """`where` and a hash of the episodes, the options, and the sizes and times of their files.

    Of a source that names no files its plain attributes count in their place.

    A file that is not there any more counts as such: who reads the episodes again says it.
    """
    told = sorted((key, value) for key, value in vars(source).items()
                  if isinstance(value, (bool, int, float, str)))  # of a source without files
    files = getattr(source, "files", None)
    made = () if files else (told,)
    digest = hashlib.sha256(repr((source.name, tuple(source.classes), options, *made)).encode())
    names = set()
    for episode in episodes:
        digest.update(repr(tuple(episode)).encode())
        names |= {episode.query, *map(str, np.ravel(episode.support))}
    for path in sorted(set(itertools.chain.from_iterable(map(files, names) if files else ()))):
        stat = os.stat(path) if os.path.exists(path) else None
        digest.update(repr((str(path), stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return f"{where}-{digest.hexdigest()[:16]}"
