# SPDX-License-Identifier: Apache-2.0
"""Do base classes make good rivals: is what a query shows of them kept out of the answer?

    python docs/results/rivals.py RUN --episodes 600

Each base class of five training photos or more has a prototype, the mean over up to twenty of them,
and answers every query. A pixel is taken from the novel class where the best rival's log-odds are
above its own by a margin. Prints mIoU at 0.5 on the run's novel classes and what each margin adds,
95 % over photos.
"""

import argparse
import random
from collections import defaultdict

import numpy as np
import tensorflow as tf
from opened import Opened
from paired import counted, gain, miou

from sst_tf.model.layers import unit_rms

SMALL = (89, 89)  # size of the rivals' answers, which are enlarged afterwards
LEAST, MOST = 5, 20  # training photos of a rival
TOGETHER = 25  # rivals that answer at once
MARGINS = (0.0, 0.5, 1.0, 2.0)


class Asked(Opened):
    """A run's model, and what its base classes answer."""

    def features(self, names):
        return self.model.inference.embed_features(np.stack([self.store.read(n) for n in names]))

    def tuned(self, pairs, bank):
        """`TunedSupport` of (photo, class) pairs that a bank holds."""
        return self.model.inference.tune(self.features([name for name, _ in pairs]),
                                         np.stack([bank.support_mask(*pair) for pair in pairs]))

    def rivals(self):
        """Prototypes [N, C] of base classes."""
        photos = defaultdict(list)
        for pair in self.data.train:
            photos[pair.class_id].append(pair.image_id)
        drawn, found = random.Random(0), []
        for number in sorted(one for one in photos if len(photos[one]) >= LEAST):
            names = drawn.sample(photos[number], min(MOST, len(photos[number])))
            bank = self.bank("train", [_Shown(name) for name in names])
            tuned = self.tuned([(name, number) for name in names], bank)
            found.append(unit_rms(tuned.prototype).numpy().mean(0))
        return np.array(found, np.float32)

    def best(self, query, rivals):
        """Log-odds [S, S] of the most probable rival at each place of one photo."""
        several = [self._answers(query, rivals[i:i + TOGETHER]).numpy()
                   for i in range(0, len(rivals), TOGETHER)]
        most = np.concatenate(several).max(0)
        return log_odds(tf.image.resize(most[..., None], (self.side, self.side)).numpy()[..., 0])

    @tf.function(autograph=False)
    def _answers(self, query, rivals):
        count = tf.shape(rivals)[0]
        return tf.sigmoid(self.model.head.segment_shots(
            tf.repeat(query, count, axis=0), rivals[:, None], tf.ones((count, 1)), SMALL))


class _Shown:
    """What a bank needs of an episode that is a single photo."""

    def __init__(self, name):
        self.query, self.support = name, ()


def log_odds(probability):
    probability = np.clip(probability, 1e-5, 1 - 1e-5)
    return np.log(probability) - np.log1p(-probability)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--episodes", type=int, default=600)
    options = parser.parse_args()
    asked = Asked(options.run)
    rivals = asked.rivals()
    episodes = asked.sampler("novel", 1).take(options.episodes)
    bank = asked.bank("novel", episodes)
    counts = {margin: [(0, 0)] * len(episodes) for margin in (None, *MARGINS)}
    best, shown = None, None
    for row in sorted(range(len(episodes)), key=lambda i: episodes[i].query):
        episode = episodes[row]
        query = asked.features([episode.query])
        if shown != episode.query:
            best, shown = asked.best(query, rivals), episode.query
        tuned = asked.tuned([(episode.support[0], episode.class_id)], bank)
        own = asked.model.inference.segment(query, tuned.prototype[None], tuned.score[None],
                                            (asked.side, asked.side))[0].numpy()
        truth = bank.mask(episode.query, episode.class_id)
        for margin, found in counts.items():
            lost = False if margin is None else best - margin > log_odds(own)
            found[row] = counted((own >= 0.5) & ~np.asarray(lost), truth)
    class_ids = [episode.class_id for episode in episodes]
    photos = [(episode.query, *episode.support) for episode in episodes]
    print(f"{len(rivals)} rivals; without them {miou(counts[None], class_ids):.4f}")
    for margin in MARGINS:
        more, low, high = gain(counts[margin], counts[None], class_ids, photos)
        print(f"margin {margin:g}: {more:+.4f} ({low:+.4f} to {high:+.4f})")


if __name__ == "__main__":
    main()
