# SPDX-License-Identifier: Apache-2.0
"""A preset on what none of its photos looked like: the drawn shapes, each class new to it."""

from pipelines import EpisodeSampler, open_source
from pipelines.index import build_index
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.evaluation import bootstrap, metrics, protocol_options
from sst_tf.evaluation.scoring import score
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.presets.preset import Preset

PICTURES = 400


def on_shapes(preset: Preset, model: SSTSegmenter, episodes: int) -> dict:
    """1-shot episodes of all classes of `shapes` at the preset's threshold.

    Args:
        model: the preset's.
        episodes: how many, drawn under seed 0.
    Returns:
        {"episodes", "photos", "preset", "prototype", "all_foreground"}; of the last three mean IoU
        and its 95 % over photos. "prototype" is the cosine prototype of the untrained features.
    """
    config = preset.config()
    data = config.data
    source = open_source("shapes", image_size=data.image_size, count=PICTURES)
    pairs = build_index(source, source.image_ids("all"), "none").pairs
    drawn = EpisodeSampler(pairs, 1, 0, class_names=source.classes).take(episodes)
    bank = PhotoBank(source, drawn, data.image_size, protocol_options.counting(config),
                     resize=data.resize)
    counts = score(model, bank, drawn, untrained=model.encoder).counts
    at = round(preset.threshold(1) * metrics.BINS)
    found: dict = {"episodes": episodes, "photos": len({one.query for one in drawn})}
    for name, key, threshold in (("preset", "tuned", at), ("prototype", "prototype", metrics.HALF),
                                 ("all_foreground", "all_foreground", metrics.HALF)):
        weights = bootstrap.photo_weights(counts[key].photos, 1000)
        found[name] = {"miou": float(metrics.mean_iou(counts[key], threshold)),
                       "interval": bootstrap.interval(
                           metrics.mean_iou(counts[key], threshold, weights))}
    return found
