# SPDX-License-Identifier: Apache-2.0
"""Scoring fixed episodes: every support is tuned once, then the queries are answered.

Tuning does not look at the query, so what it leaves of a support serves all its episodes: the
numbers are those of episode-by-episode evaluation, at a fraction of the work. Of a photo's
encoding no more is held at a time than `Encodings` says; episodes are worked off in the order of
their queries and counted in their own.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.scoring_options import PLAIN
from sst_tf.evaluation import baselines
from sst_tf.evaluation.encodings import Encodings, filled
from sst_tf.evaluation.metrics import Counts
from sst_tf.model.encoder import Encoder
from sst_tf.model.segmenter import SSTSegmenter

UNTRAINED = "untrained"  # key of a support's prototypes of untrained features [2, C_b]


@dataclass
class Scored:
    """What one pass over the episodes yields."""

    counts: dict[str, Counts]  # by "tuned", "untuned" and, if asked for, the others
    supports: dict  # {(photo, class): (own IoU before, after, relative update)}
    agreement: np.ndarray | None = None  # [E], `Inference.agreement`; None where not asked for

    @property
    def support_iou(self) -> dict[str, float]:
        """{"before", "after"}: mean over the supports."""
        before, after, _ = zip(*self.supports.values(), strict=True)
        return {"before": _mean(before), "after": _mean(after)}

    @property
    def relative_update(self) -> float:
        """Length of the step over the features', mean over the supports."""
        return _mean([moved for *_, moved in self.supports.values()])


def _mean(values):
    """Exact up to one rounding, so that the order of the supports changes no bit."""
    return math.fsum(values) / len(values)


def score(model: SSTSegmenter, bank: PhotoBank, episodes: list, batch: int = 8,
          untrained: Encoder | None = None, progress: bool = False,
          oracle: bool = False, agreement: bool = False) -> Scored:
    """Score a segmenter on episodes.

    Args:
        model: `SSTSegmenter`.
        bank: `PhotoBank` that holds the episodes' photos.
        episodes: list of `pipelines.Episode`.
        untrained: an encoder whose backbone features the prototype baseline uses (the model's own
            where its backbone is frozen, or that of the weights that training started from); None
            leaves out "prototype" and "all_foreground".
        oracle: score "oracle" too: the query under its own true mask as the support, the room
            that better prototypes could fill.
        agreement: tell how alike what was found is to what was marked.
    """
    encodings = Encodings(model, bank, batch, untrained)
    kinds = kinds_of(model) | ({"oracle": "prototype"} if oracle else {})
    queries = dict.fromkeys((e.query, e.class_id) for e in episodes)
    supports = supports_of(episodes)
    tuned = tune(encodings, list(dict.fromkeys([*supports, *queries])) if oracle else supports,
                 again={name for name, _ in queries})
    names = [*kinds] + ([] if untrained is None else ["prototype", "all_foreground"])
    counts = {name: Counts.empty(episodes) for name in names}
    alike = np.zeros(len(episodes), np.float32) if agreement else None
    views = bank.options.views
    shown = dict.fromkeys([*views, *([] if untrained is None else [PLAIN])])
    with tqdm(total=len(episodes), desc="episodes", unit="episode", disable=not progress) as bar:
        for rows, seen in encodings.beside(episodes, lambda e: e.query, tuple(shown)):
            chosen = [episodes[row] for row in rows]
            for kind, key in kinds.items():
                supported = [[tuned[pair] for pair in (
                    [(e.query, e.class_id)] if kind == "oracle" else
                    [(name, e.support_class_id) for name in e.support])] for e in chosen]
                seen_by = [answers(encodings, supported, key,
                                   [seen[e.query][view].embedding for e in chosen])
                           for view in views]
                plain = [answer[:, :, ::-1] if mirrored else answer
                         for answer, (_, mirrored) in zip(seen_by, views, strict=True)]
                probability = sum(plain[1:], plain[0]) / len(plain)
                _put(counts[kind], rows, chosen, bank, probability)
                if alike is not None and kind == "tuned":
                    alike[rows] = agreements(encodings, supported, key, [
                        seen[e.query][PLAIN].embedding for e in chosen], probability)
            if untrained is not None:
                answer = _baseline(encodings, tuned, chosen,
                                   [seen[e.query][PLAIN].features for e in chosen])
                _put(counts["prototype"], rows, chosen, bank, answer)
                _put(counts["all_foreground"], rows, chosen, bank, np.ones_like(answer))
            bar.update(len(rows))
    return Scored(counts, own_scores(tuned, supports), alike)


def own_scores(tuned: dict[tuple[str, int], dict], supports: Sequence[tuple[str, int]]) -> dict:
    """{support: (own IoU before, after, relative update)} of what `tune` left, see `Scored`."""
    return {pair: tuple(float(tuned[pair][key]) for key in (
        "score", "score_after", "relative_update")) for pair in supports}


def kinds_of(model: SSTSegmenter) -> dict[str, str]:
    """Names of what is scored, and which of a support's prototypes each uses."""
    untuned = {"untuned": "untuned_prototype"} if model.tuner.steps else {}
    return {"tuned": "prototype"} | untuned


def tune(encodings: Encodings, pairs: Sequence[tuple[str, int]],
         again: Collection[str] = ()) -> dict[tuple[str, int], dict]:
    """{(photo, class): `TunedSupport` as a dictionary of arrays} of every support.

    Where the encodings have untrained features, with the baseline's prototypes under `UNTRAINED`.

    Args:
        again: photos whose encodings are wanted once more, see `Encodings.beside`.
    """
    bank, tuned = encodings.bank, {}
    for rows, seen in encodings.beside(pairs, lambda pair: pair[0], again=again):
        some = [pairs[row] for row in rows]
        full = filled(some, encodings.batch)
        masks = np.stack([bank.support_mask(*pair) for pair in full])
        values = encodings.model.inference.tune(
            np.stack([seen[name][PLAIN].embedding for name, _ in full]), masks)
        arrays = {key: value.numpy() for key, value in values._asdict().items()}
        if encodings.untrained is not None:
            features = np.stack([seen[name][PLAIN].features for name, _ in full])
            arrays[UNTRAINED] = baselines.prototypes(features, masks).numpy()
        for i, pair in enumerate(some):
            tuned[pair] = {key: value[i].copy() for key, value in arrays.items()}
    return tuned


def answers(encodings: Encodings, supports: list[list[dict]], key: str,
            query: list[np.ndarray]) -> np.ndarray:
    """Probabilities [N, S, S] of up to a batch of queries.

    Args:
        supports: what tuning left of each query's supports, [N][K].
        key: which of their prototypes is used.
        query: R_q [N][h, w, C].
    """
    bank, full = encodings.bank, filled(range(len(supports)), encodings.batch)
    scores = np.array([[one["score"] for one in supports[i]] for i in full], np.float32)
    prototype = np.array([[one[key] for one in supports[i]] for i in full])
    probability = encodings.model.inference.segment(
        np.stack([query[i] for i in full]), prototype, scores, bank.size, bank.options.fusion,
        bank.options.second_look)
    return probability.numpy()[:len(supports)]


def agreements(encodings: Encodings, supports: list[list[dict]], key: str,
               query: list[np.ndarray], probability: np.ndarray) -> np.ndarray:
    """`Inference.agreement` [N] of answers [N, S, S]; the other arguments as of `answers`."""
    full = filled(range(len(supports)), encodings.batch)
    prototype = np.array([[one[key] for one in supports[i]] for i in full])
    found = encodings.model.inference.agreement(
        np.stack([query[i] for i in full]), probability[full], prototype)
    return found.numpy()[:len(supports)]


def _baseline(encodings, tuned, episodes, query):
    """Answers [N, S, S] of the cosine prototype on untrained features."""
    full = filled(range(len(episodes)), encodings.batch)
    prototypes = np.array([[tuned[name, episodes[i].support_class_id][UNTRAINED]
                            for name in episodes[i].support] for i in full])
    answer = baselines.segment(np.stack([query[i] for i in full]), prototypes,
                               encodings.bank.size)
    return answer.numpy()[:len(episodes)]


def _put(counts, rows, episodes, bank, probability):
    for row, episode, one in zip(rows, episodes, probability, strict=True):
        counts.put(row, *bank.judge(one, episode.query, episode.class_id))


def supports_of(episodes: list) -> list[tuple[str, int]]:
    """(photo, class) of the episodes' supports, each once, in order."""
    return list(dict.fromkeys((n, e.support_class_id) for e in episodes for n in e.support))
