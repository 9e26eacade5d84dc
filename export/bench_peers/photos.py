# SPDX-License-Identifier: Apache-2.0
"""Which files all readers read."""

from pathlib import Path
from typing import Any

import cv2

from export.bench_peers.materials import photos
from export.bench_peers.options import Options
from pipelines.index import build_index
from pipelines.sampler import Episode, EpisodeSampler
from pipelines.sources import open_source


def sample(folder: Path, options: Options) -> tuple[Any, list[Episode]]:
    """(source, 1-shot episodes of it), the same in every process."""
    cv2.setNumThreads(1)  # the readers' threads are the parallel ones
    source = open_source("voc", photos(folder, options))
    index = build_index(source, source.image_ids("all"))
    return source, EpisodeSampler(index.pairs, 1, seed=0, skip_small=True).take(options.episodes)
