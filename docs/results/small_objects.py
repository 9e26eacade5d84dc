# SPDX-License-Identifier: Apache-2.0
"""Do overlapping crops find small objects, and what do they cost on the others?

    python docs/results/small_objects.py runs/pascal5i_resnet18 --part validation
    python docs/results/small_objects.py runs/pascal5i_resnet18 --part novel

Photos whose object of the class covers less than 2 % of the area (and, to compare, more), asked at
the photo's own size: the whole photo as it is, crops alone, and both together in several ways. The
way was chosen on base classes (validation). Supports are the protocol's, of objects that are large
enough.
"""

import argparse

import numpy as np
import tensorflow as tf
from paired import counted, gain, miou

from pipelines.index import build_index
from pipelines.reading.transforms import resize_class_mask, restore
from sst_tf.data.run_data import open_data
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.photos import tiles
from sst_tf.runs.directory import Run

SMALL = 0.02  # share of the photo's area
WAYS = {"whole photo": lambda whole, crops: whole, "crops": lambda whole, crops: crops,
        "mean": lambda whole, crops: (whole + crops) / 2,
        "larger": lambda whole, crops: np.maximum(whole, crops),
        "geometric mean": lambda whole, crops: np.sqrt(whole * crops)}


def asked(data, part, count, small, seed):
    """[(class id, support, query)] of photos whose object is small, or is not."""
    pairs = getattr(data, part)
    ids = sorted({pair.image_id for pair in pairs})
    known = {pair.class_id for pair in pairs}
    supports = {}
    for pair in pairs:
        supports.setdefault(pair.class_id, []).append(pair.image_id)
    rng, found = np.random.default_rng(seed), []
    every = [pair for pair in build_index(data.source, ids, "none").pairs
             if pair.class_id in known]
    for i in rng.permutation(len(every)):
        pair = every[i]
        mask = data.source.class_mask(pair.image_id, pair.class_id, data.void_in(part))
        others = [name for name in supports[pair.class_id] if name != pair.image_id]
        if ((mask == 1).mean() < SMALL) == small and others:
            found.append((pair.class_id, others[rng.integers(len(others))], pair.image_id))
            if len(found) == count:
                break
    return found


def maps(inference, card, photos, size, answering):
    """Probabilities [N, S, S] of network-sized photos under a tuned support."""
    rows = len(photos)
    return inference.segment(
        inference.embed_photos(photos), tf.repeat(card.prototype[None], rows, 0),
        tf.repeat(card.score[None], rows, 0), (size, size), *answering).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--part", choices=["validation", "novel"], default="novel")
    parser.add_argument("--photos", type=int, default=150)
    parser.add_argument("--times", type=int, nargs="+", default=[2, 3])
    options = parser.parse_args()
    run = Run.open(options.run)
    config, inference, data = run.config(), run.model().inference, open_data(run.config())
    size, resize = config.data.image_size, config.data.resize
    threshold, answering = OperatingPoint(run).threshold(1), config.model.answering
    for small in (True, False):
        chosen = asked(data, options.part, options.photos, small,
                       evaluation_seed(config.evaluate.seed))
        counts = {}
        for class_id, support, query in chosen:
            image, marked = data.source.read_image(query), data.source.read_image(support)
            mark = resize_class_mask(data.source.class_mask(support, class_id,
                                                            data.void_in(options.part)), size)
            card = inference.tune(inference.embed_photos(tiles.cut(marked, size, 1, resize)),
                                  mark[None])
            truth = data.source.class_mask(query, class_id, data.void_in(options.part))
            whole = maps(inference, card, tiles.cut(image, size, 1, resize), size, answering)
            whole = restore(whole[0], truth.shape, resize).numpy()
            for times in options.times:
                crops = maps(inference, card, tiles.cut(image, size, times, resize), size,
                             answering)
                crops = restore(tiles.merge(crops, times), truth.shape, resize).numpy()
                for name, way in WAYS.items():
                    if name == "whole photo" and times != options.times[0]:
                        continue
                    answer = way(whole, crops) >= threshold
                    counts.setdefault((name, times), []).append(counted(answer, truth))
        classes = [class_id for class_id, _, _ in chosen]
        photos = [(query, query) for _, _, query in chosen]
        first = counts["whole photo", options.times[0]]
        print(f"{len(chosen)} photos of {len(set(classes))} classes, object "
              f"{'below' if small else 'above'} {SMALL:.0%} of the area")
        for (name, times), one in counts.items():
            more, low, high = gain(one, first, classes, photos)
            print(f"| {name} | {times} | {miou(one, classes):.3f} | {more:+.3f} "
                  f"({low:+.3f} .. {high:+.3f}) |")


if __name__ == "__main__":
    main()
