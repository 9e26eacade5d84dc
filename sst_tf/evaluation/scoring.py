# SPDX-License-Identifier: Apache-2.0
"""Scoring fixed episodes: every photo is encoded once, every support tuned once.

Tuning does not look at the query, so what it leaves of a support serves all its episodes: the
numbers are those of episode-by-episode evaluation, at a fraction of the work.
"""

import math
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from sst_tf.data.photo_bank import PLAIN
from sst_tf.evaluation import baselines
from sst_tf.evaluation.metrics import Counts

GROUP = 256  # episodes whose answers from several views are held at once


@dataclass
class Scored:
    """What one pass over the episodes yields."""

    counts: dict[str, Counts]  # by "tuned", "untuned" and, if asked for, the others
    supports: dict  # {(photo, class): (own IoU before, after, relative update)}

    @property
    def support_iou(self):
        """{"before", "after"}: mean over the supports."""
        before, after, _ = zip(*self.supports.values(), strict=True)
        return {"before": _mean(before), "after": _mean(after)}

    @property
    def relative_update(self):
        """Length of the step over the features', mean over the supports."""
        return _mean([moved for *_, moved in self.supports.values()])


def _mean(values):
    """Exact up to one rounding, so that the order of the supports changes no bit."""
    return math.fsum(values) / len(values)


def score(model, bank, episodes, batch=8, untrained=None, progress=False, oracle=False):
    """Score a segmenter on episodes.

    Args:
        model: `SSTSegmenter`.
        bank: `PhotoBank` that holds the episodes' photos.
        episodes: list of `pipelines.Episode`.
        untrained: an encoder whose backbone features the prototype baseline uses (the frozen
            backbone itself, or the weights that training started from); None leaves out
            "prototype" and "all_foreground".
        oracle: score "oracle" too: the query under its own true mask as the support, the room
            that better prototypes could fill.
    """
    embedded = embed_all(model, bank, bank.names, batch)
    supports = _supports(episodes)
    tuned = tune(model, bank, supports, embedded, batch)
    kinds = {"tuned": "prototype"}
    if model.tuner.steps:
        kinds["untuned"] = "untuned_prototype"
    if oracle:
        kinds["oracle"] = "prototype"
        queries = [p for p in dict.fromkeys((e.query, e.class_id) for e in episodes)
                   if p not in tuned]
        tuned |= tune(model, bank, queries, embedded, batch)
    counts = {kind: Counts.empty(episodes) for kind in kinds}
    bar = tqdm(total=len(episodes), desc="episodes", unit="episode", disable=not progress)
    plain = bank.options.views == (PLAIN,)
    for group in chunks(np.arange(len(episodes)), batch if plain else GROUP):
        chosen = [episodes[i] for i in group]
        sums = dict.fromkeys(kinds, 0.0)
        for view in bank.options.views:
            names = list(dict.fromkeys(e.query for e in chosen))
            seen = ({name: embedded[bank.row[name]] for name in names} if view == PLAIN else
                    dict(zip(names, embed_all(model, bank, names, batch, view), strict=True)))
            for kind, key in kinds.items():
                supported = [[tuned[pair] for pair in (
                    [(e.query, e.class_id)] if kind == "oracle" else
                    [(name, e.support_class_id) for name in e.support])] for e in chosen]
                answer = answers(model, bank, supported, key, [seen[e.query] for e in chosen],
                                 batch)
                sums[kind] = sums[kind] + (answer[:, :, ::-1] if view[1] else answer)
        for kind, total in sums.items():
            _put(counts[kind], group, chosen, bank, total if plain else
                 total / len(bank.options.views))
        bar.update(len(group))
    bar.close()
    if untrained is not None:
        counts |= _untrained(untrained, bank, episodes, batch)
    return Scored(counts, {pair: tuple(float(tuned[pair][key]) for key in (
        "score", "score_after", "relative_update")) for pair in supports})


def embed_all(model, bank, names, batch, view=PLAIN):
    """R of photos by name, [N, h, w, C]."""
    return np.concatenate([bank.embed(model, filled([bank.row[n] for n in some], batch), view
                                      ).numpy()[:len(some)] for some in chunks(names, batch)])


def answers(model, bank, supports, key, query, batch):
    """Probabilities [N, S, S] of queries.

    Args:
        supports: what tuning left of each query's supports, [N][K].
        key: which of their prototypes is used.
        query: R_q [N][h, w, C].
    """
    parts = []
    for rows in chunks(np.arange(len(supports)), batch):
        full = filled(rows, batch)
        scores = np.array([[one["score"] for one in supports[i]] for i in full], np.float32)
        prototype = np.array([[one[key] for one in supports[i]] for i in full])
        probability = model.inference.segment(np.stack([query[i] for i in full]), prototype, scores,
                                              bank.size, bank.options.fusion)
        parts.append(probability.numpy()[:len(rows)])
    return np.concatenate(parts)


def tune(model, bank, supports, embedded, batch):
    """{(photo, class): `TunedSupport` as a dictionary of arrays} of every support."""
    tuned = {}
    for some in chunks(supports, batch):
        full = filled(some, batch)
        masks = np.stack([bank.support_mask(*pair) for pair in full])
        values = model.inference.tune(embedded[[bank.row[name] for name, _ in full]], masks)
        arrays = {key: value.numpy() for key, value in values._asdict().items()}
        for i, pair in enumerate(some):
            tuned[pair] = {key: value[i] for key, value in arrays.items()}
    return tuned


def _untrained(encoder, bank, episodes, batch):
    prototypes = {}
    for some in chunks(_supports(episodes), batch):
        full = filled(some, batch)
        features = bank.features(encoder, [bank.row[name] for name, _ in full])
        masks = np.stack([bank.support_mask(*pair) for pair in full])
        prototypes |= dict(zip(full, baselines.prototypes(features, masks).numpy(), strict=True))
    counts = {"prototype": Counts.empty(episodes), "all_foreground": Counts.empty(episodes)}
    for rows in chunks(np.arange(len(episodes)), batch):
        chosen = [episodes[i] for i in rows]
        full = filled(chosen, batch)
        features = bank.features(encoder, [bank.row[e.query] for e in full])
        stacked = np.array([[prototypes[n, e.support_class_id] for n in e.support] for e in full])
        answer = baselines.segment(features, stacked, bank.size).numpy()[:len(chosen)]
        _put(counts["prototype"], rows, chosen, bank, answer)
        _put(counts["all_foreground"], rows, chosen, bank, np.ones_like(answer))
    return counts


def _put(counts, rows, episodes, bank, probability):
    for row, episode, one in zip(rows, episodes, probability, strict=True):
        counts.put(row, *bank.judge(one, episode.query, episode.class_id))


def _supports(episodes):
    return list(dict.fromkeys((n, e.support_class_id) for e in episodes for n in e.support))


def filled(items, batch):
    """A last chunk filled up with its last item: a library may round otherwise in a smaller batch,
    and a photo's numbers must not depend on its company.
    """
    return [*items, *[items[-1]] * (batch - len(items))]


def chunks(items, size):
    """Lists of `size` items; the last may be shorter."""
    return [list(items[i:i + size]) for i in range(0, len(items), size)]
