# SPDX-License-Identifier: Apache-2.0
"""What an evaluation takes of this process's memory, on as many photos as one likes."""

import resource
import sys
import time
from dataclasses import dataclass

from pipelines.index import build_index
from pipelines.sampler import Episode
from sst_tf.config import Config
from sst_tf.data.photo_bank import open_bank
from sst_tf.evaluation.protocol_options import counting
from sst_tf.evaluation.scoring import score
from sst_tf.runs.factory import build_model

SHARED = 8  # queries that one support serves, so that most of the work is on photos


@dataclass
class MemoryCost:
    """One evaluation in figures."""

    photos: int
    episodes: int
    loaded: float  # GB at most before the first photo, TensorFlow and the model
    peak: float  # GB at most in the end
    seconds: float


def memory_cost(config: Config, source, names: list[str], progress: bool = True) -> MemoryCost:
    """Score every photo once as a query, the untrained prototype beside it.

    Args:
        config: `sst_tf.config.Config` of model, image size and `evaluate.memory`.
        source: `pipelines` source.
        names: its photos; each is scored for the first class in it.
    """
    episodes = covering_episodes(source, names)
    model = build_model(config)
    loaded, start = peak_memory(), time.perf_counter()
    score(model, open_bank(config, source, episodes, counting(config)), episodes,
          config.evaluate.batch, model.encoder, progress)
    return MemoryCost(len(names), len(episodes), loaded, peak_memory(),
                      time.perf_counter() - start)


def covering_episodes(source, names: list[str]) -> list[Episode]:
    """1-shot episodes whose queries are all photos, each once; a support serves `SHARED` of them.

    Supports are queries of other episodes, so a photo may be wanted twice.
    """
    by_class: dict[int, list[str]] = {}
    seen: set[str] = set()
    for pair in build_index(source, names).pairs:
        if pair.image_id not in seen:
            seen.add(pair.image_id)
            by_class.setdefault(pair.class_id, []).append(pair.image_id)
    episodes: list[Episode] = []
    for class_id, photos in sorted(by_class.items()):
        for i, query in enumerate(photos):
            support = photos[(i // SHARED + 1) * SHARED % len(photos)]
            episodes.append(Episode(len(episodes), class_id, (support,), query, class_id))
    return episodes


def peak_memory() -> float:
    """Most resident memory of this process so far, in GB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e9 if sys.platform == "darwin" else most * 1024 / 1e9
