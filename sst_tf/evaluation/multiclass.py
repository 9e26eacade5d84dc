# SPDX-License-Identifier: Apache-2.0
"""Several classes at once: each pixel of a query gets one of N classes, or background."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from pipelines.sampler import WayEpisode, WaySampler, episodes_sha256
from sst_tf.config import Config, resolved
from sst_tf.data.feature_store import FeatureStore
from sst_tf.data.photo_bank import PhotoBank, open_bank
from sst_tf.data.run_data import RunData
from sst_tf.data.scoring_options import PLAIN, ScoringOptions
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import bootstrap, metrics
from sst_tf.evaluation.encodings import Encodings
from sst_tf.evaluation.metrics import BINS, HALF, Counts
from sst_tf.evaluation.scoring import Scored, answers, kinds_of, own_scores, tune
from sst_tf.model.segmenter import SSTSegmenter


def draw(config: Config, data: RunData, shots: int) -> list[WayEpisode]:
    """The N-way episodes of novel classes that a configuration asks for."""
    settings = resolved(config).evaluate
    sampler = WaySampler(data.novel, settings.ways, shots,
                         evaluation_seed(settings.seed), data.source.classes,
                         getattr(data.source, "labels", None))
    assert settings.episodes is not None  # of a resolved configuration
    return sampler.take(settings.episodes)


def evaluate(config: Config, model: SSTSegmenter, data: RunData, episodes: list[WayEpisode],
             thresholds: dict[str, int], options: ScoringOptions,
             store: FeatureStore | None = None, progress: bool = True) -> tuple:
    """Score N-way episodes; their results.

    Returns:
        (scores, (support IoU, gauges), facts of the protocol, {name: (`Counts`, threshold bin)}).

    Each class is answered on its own; a pixel goes to the class of highest probability, or to
    background where none reaches the threshold, which 1-way base-class episodes chose. False
    foreground counts in photos without the class as in others.
    """
    settings = resolved(config).evaluate
    bank = open_bank(config, data.source, episodes, options, store)
    encodings = Encodings(model, bank, settings.batch)
    supports = list(dict.fromkeys((name, class_id) for e in episodes for class_id, row in
                                  zip(e.class_id, e.support, strict=True) for name in row))
    tuned = tune(encodings, supports, again={e.query for e in episodes})
    kinds = kinds_of(model)
    bins = {kind: {"half": HALF, "chosen": thresholds.get(kind, thresholds["tuned"])}
            for kind in kinds}
    found = {kind: {name: _empty(episodes) for name in bins[kind]} for kind in kinds}
    with tqdm(total=len(episodes), desc="episodes", unit="episode", disable=not progress) as bar:
        for rows, seen in encodings.beside(episodes, lambda e: e.query):
            some = [episodes[row] for row in rows]
            query = [seen[e.query][PLAIN].embedding for e in some]
            for kind, key in kinds.items():
                by_way = np.stack([answers(  # [N, B, S, S]
                    encodings, [[tuned[name, e.class_id[way]] for name in e.support[way]]
                                for e in some], key, query) for way in range(settings.ways)])
                for name, one in bins[kind].items():
                    put(found[kind][name], rows, some, bank, by_way, one / BINS)
            bar.update(len(rows))
    weights = bootstrap.photo_weights(found["tuned"]["half"].photos, settings.resamples)
    scores: dict[str, dict] = {}
    for kind, counts in found.items():
        scores[kind] = metrics.summary(counts["half"], data.source.classes, None, weights)
        chosen = metrics.summary(counts["chosen"], data.source.classes, None, weights)
        scores[kind]["threshold"] = {
            "fixed": 0.5, "chosen": thresholds.get(kind, thresholds["tuned"]) / BINS,
            "chosen_on": "base",
            "miou_at_chosen": chosen["miou"], "fb_iou_at_chosen": chosen["fb_iou"],
            "area_ratio_at_chosen": chosen["area_ratio"],
            "interval": chosen["miou_interval"]}
    own = Scored({}, own_scores(tuned, supports))
    gauges = own.support_iou, {"relative_update": own.relative_update}
    return scores, gauges, {"ways": settings.ways, "episodes": len(episodes),
                             "episodes_sha256": episodes_sha256(episodes),
                             "photos": len(bank.names)}, {
        f"{kind}_{name}": (counts, HALF)  # of decided pixels
        for kind, both in found.items() for name, counts in both.items()}


def put(counts: Counts, rows: Sequence[int], episodes: list, bank: PhotoBank, by_way: np.ndarray,
        threshold: float) -> None:
    """Count the classes of some episodes: answers [N, B, S, S], a row an episode and class."""
    best = by_way.argmax(0)  # [B, S, S]
    for i, (row, episode) in enumerate(zip(rows, episodes, strict=True)):
        for way, class_id in enumerate(episode.class_id):
            mine = (best[i] == way) & (by_way[way, i] >= threshold)
            judged = bank.judge(mine.astype(np.float32), episode.query, class_id)
            counts.put(row * len(by_way) + way, *judged)


def _empty(episodes):
    """`Counts` of a row an episode and class."""
    pairs = [(e, way) for e in episodes for way in range(len(e.class_id))]
    return Counts(np.zeros((len(pairs), 2, BINS + 1), np.int64),
                  np.array([e.class_id[way] for e, way in pairs]),
                  [(e.query, *e.support[way]) for e, way in pairs])
