# SPDX-License-Identifier: Apache-2.0
"""Which score tells best whether a class is in a photo at all, asked of held-out base classes.

    python docs/results/presence_scores.py runs/pascal5i_resnet18 --episodes 250

Prints the area under the ROC curve of several scores on base and on novel classes. The choice is
made by the base column alone.
"""

import argparse

import numpy as np
from opened import Opened

from pipelines.reading.transforms import resize_class_mask
from sst_tf.evaluation import presence
from sst_tf.model.found import found_mask
from sst_tf.model.layers import foreground_average


def pooled(features, mask):
    """Average of features [h, w, C] where a mask [H, W] is 1."""
    return foreground_average(features[None], mask[None])[0].numpy()


def cosine(one, two):
    return float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two) + 1e-9))


def scores_of(model, store, source, episode, size):
    """{name: score} of one 1-shot episode."""
    inference, name, marked = model.inference, episode.support[0], episode.support_class_id
    mask = np.asarray(resize_class_mask(source.class_mask(name, marked), size))
    raw = {photo: store.read(photo) for photo in (name, episode.query)}
    embedded = {photo: inference.embed_features(value[None]) for photo, value in raw.items()}
    tuned = inference.tune(embedded[name], mask[None])
    answer = inference.segment(embedded[episode.query], tuned.prototype[:, None],
                               tuned.score[None], (size, size))
    agreement = float(inference.agreement(embedded[episode.query], answer,
                                          tuned.prototype[:, None])[0])
    probability = answer[0].numpy()
    flat = np.sort(probability.ravel())[::-1]
    found = found_mask(answer)[0].numpy()
    back = inference.segment(embedded[name], pooled(embedded[episode.query][0].numpy(), found)
                             [None, None], np.ones((1, 1), np.float32), (size, size))[0].numpy()
    counted, object_, again = mask != 255, mask == 1, back >= 0.5
    prototype = pooled(raw[name], mask)
    cells = raw[episode.query].reshape(-1, prototype.size)
    near = np.sort(cells @ prototype / np.linalg.norm(cells, axis=1) / np.linalg.norm(prototype))
    return {
        "highest 5 % of pixels": presence.score_map(probability, 1.0),
        "highest 1 % of pixels": float(flat[:flat.size // 100].mean()),
        "mean of all pixels": float(probability.mean()),
        "cosine of found and marked": agreement,
        "highest 5 % times the cosine": presence.score_map(probability, 1.0) * max(agreement, 0),
        "highest 5 % times its square": presence.score_map(probability, agreement),
        "cosine of found and marked, backbone": cosine(pooled(raw[episode.query], found),
                                                       prototype),
        "cosine to marked, backbone, best cells": float(near[-len(near) // 20:].mean()),
        "support segmented back, IoU": float((again & object_ & counted).sum()
                                             / max(((again | object_) & counted).sum(), 1))}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--episodes", type=int, default=250, help="with the class, and without")
    options = parser.parse_args()
    asked = Opened(options.run)
    areas = {}
    for part in ("validation", "novel"):
        absent = presence.absent_episodes(asked.sampler(part, 1, mismatched=True),
                                          options.episodes, asked.data.lacks)
        present = asked.sampler(part, 1).take(options.episodes)
        found = [[scores_of(asked.model, asked.store, asked.data.source, episode, asked.side)
                  for episode in some] for some in (present, absent)]
        for name in found[0][0]:
            values = [np.array([one[name] for one in some]) for some in found]
            areas.setdefault(name, []).append(presence.rates(*values, 0)["auc"])
    for name, (base, novel) in areas.items():
        print(f"{name:<40} base {base:.3f}  novel {novel:.3f}")


if __name__ == "__main__":
    main()
