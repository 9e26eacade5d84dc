# SPDX-License-Identifier: Apache-2.0
"""Where decoded episodes are kept, so that no others are read from there."""

import contextlib
import glob
import hashlib
import itertools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.errors import DataError
from pipelines.leftovers import locked
from pipelines.reading.files import length_and_time
from pipelines.reading.transforms import RESIZE_METHOD
from pipelines.sampler import Episode, WayEpisode
from pipelines.sources import Source, options_of

_filled_here: set[str] = set()  # paths whose lock this process holds
_locks = contextlib.ExitStack()  # held until it ends


def kept(dataset: tf.data.Dataset, path: str) -> tf.data.Dataset:
    """A dataset whose elements lie in files that begin with `path` after its first whole pass.

    One process makes that pass. Another that comes meanwhile reads the dataset itself, and says so;
    what a killed one left is removed.

    Raises:
        DataError: the files that are there are damaged.
    """
    if os.path.exists(f"{path}.index"):
        _refuse_damaged(path)
    elif path not in _filled_here:
        lock = Path(f"{path}.lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        if not _locks.enter_context(locked(lock, wait=False)):
            warnings.warn(f"{path}: another process is filling it; episodes are decoded here, too",
                          stacklevel=4)
            return dataset
        _filled_here.add(path)
        for left in glob.glob(f"{glob.escape(path)}_*"):
            os.unlink(left)
    return dataset.cache(path)


def _refuse_damaged(path):
    """Files that were cut short, as by a full disk or a copy; bytes that changed are seen later."""
    try:
        reader = tf.train.load_checkpoint(path)
        if names := reader.get_variable_to_shape_map():
            reader.get_tensor(max(names))  # numbered by place, so it ends the file
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}.*: kept episodes that are damaged "
                        f"({str(error).splitlines()[0]}); remove these files, and the next pass "
                        "writes them anew") from error


def cache_file(where: str | os.PathLike, source: Source,
               episodes: Sequence[Episode | WayEpisode], *options: Any) -> str:
    """`where` and a hash of episodes, options, the source's own, and sizes and times of files.

    A file that is not there any more counts as such: who reads the episodes again says it.
    """
    digest = hashlib.sha256(repr((source.name, tuple(source.classes), options, RESIZE_METHOD,
                                  options_of(source))).encode())
    files = getattr(source, "files", None)
    names = set()
    for episode in episodes:
        digest.update(repr(tuple(episode)).encode())
        names |= {episode.query, *map(str, np.ravel(episode.support))}
    for path in sorted(set(itertools.chain.from_iterable(map(files, names) if files else ()))):
        digest.update(repr((str(path), length_and_time(path))).encode())
    return f"{where}-{digest.hexdigest()[:16]}"
