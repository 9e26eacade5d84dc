"""Scoring fixed episodes: every photo is encoded once, every support taught once.

Tuning does not look at the query, so a support's lesson serves all its episodes: the numbers are
those of episode-by-episode evaluation, at a fraction of the work.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipelines import photo_dataset
from pipelines.transforms import resize_class_mask
from sst_tf import baseline
from sst_tf.metrics import Counts


class PhotoBank:
    """Photos of some episodes: masks at network size and backbone features, each read once.

    Args:
        source: `pipelines` source.
        episodes: what will be scored.
        image_size: side in pixels; predictions are scored at it ("network" scoring).
        features: a `FeatureStore`, or None for a bank that keeps the raw photos instead.
        resize: "squash" or "pad".
    """

    def __init__(self, source, episodes, image_size, features=None, resize="squash"):
        self.names = list(dict.fromkeys(n for e in episodes for n in (e.query, *e.support)))
        self.row = {name: i for i, name in enumerate(self.names)}
        self.size = (image_size, image_size)
        self.source, self.store, self.resize = source, features, resize
        if features is not None:
            features.ensure(self.names)
        self.images = None
        if features is None:
            photos = photo_dataset(source, self.names, image_size, resize=resize)
            self.images = np.concatenate([p["image"].numpy() for p in photos.batch(8).prefetch(2)])
        self._masks = {}

    def features(self, encoder, rows):
        """Backbone features [N, h, w, C_b] of photos by row."""
        if self.store is not None:
            return tf.constant(np.stack([self.store.read(self.names[r]) for r in rows]))
        return encoder.features(self.images[list(rows)])

    def embed(self, model, rows):
        """R [N, h, w, C] of photos by row."""
        if self.store is not None:
            return model.embed_features(self.features(model.encoder, rows))
        return model.embed_photos(self.images[list(rows)])

    def mask(self, name, class_id):
        """T [S, S] uint8 of 0, 1, 255 for one class in one photo."""
        key = (name, class_id)
        if key not in self._masks:
            mask = self.source.class_mask(name, class_id)
            self._masks[key] = np.asarray(resize_class_mask(mask, self.size[0], self.resize))
        return self._masks[key]


    def support_mask(self, name, class_id):
        """The mask that a support is taught with."""
        return self.mask(name, class_id)


@dataclass
class Scored:
    """What one pass over the episodes yields."""

    counts: dict[str, Counts]  # by "tuned", "untuned" and, if asked for, the others
    support_iou: dict[str, float]  # before, after; mean over the supports
    relative_update: float


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
    embedded = np.concatenate([bank.embed(model, rows).numpy()
                               for rows in _chunks(np.arange(len(bank.names)), batch)])
    supports = _supports(episodes)
    lessons = _teach(model, bank, supports, embedded, batch)
    kinds = {"tuned": "prototype"}
    if model.tuner.steps:
        kinds["untuned"] = "untuned_prototype"
    if oracle:
        kinds["oracle"] = "prototype"
        queries = [p for p in dict.fromkeys((e.query, e.class_id) for e in episodes)
                   if p not in lessons]
        lessons |= _teach(model, bank, queries, embedded, batch)
    counts = {kind: Counts.empty(episodes) for kind in kinds}
    bar = tqdm(total=len(episodes), desc="episodes", unit="episode", disable=not progress)
    for rows in _chunks(np.arange(len(episodes)), batch):
        chosen = [episodes[i] for i in rows]
        query = embedded[[bank.row[e.query] for e in chosen]]
        for kind, key in kinds.items():
            taught = [[lessons[pair] for pair in (
                [(e.query, e.class_id)] if kind == "oracle" else
                [(name, e.support_class_id) for name in e.support])] for e in chosen]
            scores = np.array([[one["score"] for one in row] for row in taught], np.float32)
            prototype = np.array([[one[key] for one in row] for row in taught])
            probability = model.segment_taught(query, prototype, scores, bank.size).numpy()
            _put(counts[kind], rows, chosen, bank, probability)
        bar.update(len(rows))
    bar.close()
    if untrained is not None:
        counts |= _untrained(untrained, bank, episodes, batch)
    before, after, moved = (float(np.mean([lessons[pair][key] for pair in supports]))
                            for key in ("score", "score_after", "relative_update"))
    return Scored(counts, {"before": before, "after": after}, moved)


def _teach(model, bank, supports, embedded, batch):
    """{(photo, class): lesson as arrays} of every support."""
    lessons = {}
    for some in _chunks(supports, batch):
        masks = np.stack([bank.support_mask(*pair) for pair in some])
        lesson = model.teach(embedded[[bank.row[name] for name, _ in some]], masks)
        arrays = {key: value.numpy() for key, value in lesson._asdict().items()}
        for i, pair in enumerate(some):
            lessons[pair] = {key: value[i] for key, value in arrays.items()}
    return lessons


def _untrained(encoder, bank, episodes, batch):
    taught = {}
    for some in _chunks(_supports(episodes), batch):
        features = bank.features(encoder, [bank.row[name] for name, _ in some])
        both = baseline.prototypes(features, np.stack([bank.mask(*p) for p in some])).numpy()
        taught |= dict(zip(some, both, strict=True))
    counts = {"prototype": Counts.empty(episodes), "all_foreground": Counts.empty(episodes)}
    for rows in _chunks(np.arange(len(episodes)), batch):
        chosen = [episodes[i] for i in rows]
        features = bank.features(encoder, [bank.row[e.query] for e in chosen])
        prototypes = np.array([[taught[n, e.support_class_id] for n in e.support] for e in chosen])
        answer = baseline.segment(features, prototypes, bank.size).numpy()
        _put(counts["prototype"], rows, chosen, bank, answer)
        _put(counts["all_foreground"], rows, chosen, bank, np.ones_like(answer))
    return counts


def _put(counts, rows, episodes, bank, probability):
    for row, episode, one in zip(rows, episodes, probability, strict=True):
        counts.put(row, one, bank.mask(episode.query, episode.class_id))


def _supports(episodes):
    return list(dict.fromkeys((n, e.support_class_id) for e in episodes for n in e.support))


def _chunks(items, size):
    return [list(items[i:i + size]) for i in range(0, len(items), size)]
