# SPDX-License-Identifier: Apache-2.0
"""What antialiased shrinking of photos changes: gray levels, and the untrained prototype's mIoU.

    python docs/results/shrinking.py ../shared/data/pascal5i resnet18_conv1-layer3.npz

On novel classes of PASCAL-5i's fold 1, brought to the network's size with a filter that grows with
the factor (as everywhere in this package) and by plain bilinear sampling of points.
"""

import argparse

import numpy as np
import tensorflow as tf
from paired import counted, miou

from pipelines import EpisodeSampler, open_source
from pipelines.folds import novel_class_ids
from pipelines.index import build_index, split_pairs
from pipelines.reading.transforms import resize_class_mask, resize_image
from sst_tf.evaluation import baselines
from sst_tf.model.encoder import Encoder

SIZE = 257


def sampled(photo, size):
    """Point-sampled uint8 [S, S, 3]."""
    return tf.cast(tf.round(tf.image.resize(photo, (size, size), "bilinear")), tf.uint8)


WAYS = {"point-sampled": sampled, "antialiased": resize_image}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder of VOC's photos")
    parser.add_argument("weights", help="file of ResNet-18's")
    parser.add_argument("--episodes", type=int, default=500)
    options = parser.parse_args()
    source = open_source("voc", options.root)
    index = build_index(source, source.image_ids("val"), "none")
    pairs = split_pairs(index, novel_class_ids(source.classes, fold=1), "novel")
    episodes = EpisodeSampler(pairs, 1, seed=0).take(options.episodes)
    encoder = Encoder("resnet18", 8)
    encoder.load(options.weights)
    compute = tf.function(encoder.features)
    levels, features = [], {way: {} for way in WAYS}
    for name in sorted({name for one in episodes for name in (*one.support, one.query)}):
        photo = source.read_image(name)
        small = {way: shrink(photo, SIZE).numpy() for way, shrink in WAYS.items()}
        levels.append(np.abs(np.subtract(*(one.astype(float) for one in small.values()))).mean())
        for way, picture in small.items():
            features[way][name] = compute(picture[None])
    print(f"{len(levels)} photos, mean absolute difference {np.mean(levels):.2f} gray levels")
    for way, known in features.items():
        counts = [answered(source, one, known) for one in episodes]
        print(f"{way:<14} mIoU {miou(counts, [one.class_id for one in episodes]):.4f}")


def answered(source, episode, known):
    """(intersection, union) of one 1-shot episode under the untrained cosine prototype."""
    support, truth = (resize_class_mask(source.class_mask(name, episode.class_id), SIZE)
                      for name in (episode.support[0], episode.query))
    prototype = baselines.prototypes(known[episode.support[0]], support[None])
    answer = baselines.segment(known[episode.query], prototype[:, None], (SIZE, SIZE))[0]
    return counted(answer.numpy() == 1, truth.numpy())


if __name__ == "__main__":
    main()
