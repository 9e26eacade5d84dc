# SPDX-License-Identifier: Apache-2.0
"""Does leaving one out tell which of five marked photos has a wrong mark, and does that help?

    python docs/results/wrong_marks.py runs/pascal5i_resnet18 --part validation
    python docs/results/wrong_marks.py runs/pascal5i_resnet18 --part novel

Five photos of a class teach it. Then one of them is spoilt: its mark lies half a photo further, or
it is a photo of another class under that class's mark. Prints how often advice names a photo
without need, how often it names the spoilt one, and the mIoU of queries with all five, and with the
named photo left out. What counts as disagreeing is chosen on base classes (validation).
"""

import argparse

import numpy as np
import tensorflow as tf

from sst_tf.data.feature_store import open_store
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.run_data import open_data
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import bootstrap
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.photos.teaching import found_by_others
from sst_tf.runs.directory import Run

SHOTS = 5
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)  # of the others' mean, tried as what counts as disagreeing


def named(others, share):
    """The photo that disagrees most, or None."""
    ratios = [one / max(np.delete(others, i).mean(), 1e-9) for i, one in enumerate(others)]
    worst = int(np.argmin(ratios))
    return worst if ratios[worst] < share else None


def moved(mask):
    """A mark half a photo further, both ways."""
    return np.roll(mask, (mask.shape[0] // 2, mask.shape[1] // 2), (0, 1))


class Lab:
    """A run's model and features."""

    def __init__(self, folder, part, episodes):
        run = Run.open(folder)
        self.config, self.model = run.config(), run.model()
        data, seed = open_data(self.config), evaluation_seed(self.config.evaluate.seed)
        self.episodes = data.sampler(part, SHOTS, seed).take(episodes)
        self.others = data.sampler(part, SHOTS, seed, mismatched=True).take(episodes)
        store = open_store(self.config, self.model, data)
        self.bank = PhotoBank(data.source, self.episodes + self.others,
                              self.config.data.image_size, store)
        self.store, self.point = store, OperatingPoint(run)

    def embedded(self, photo):
        return self.model.inference.embed_features(self.store.read(photo)[None])

    def tuned(self, photo, mask):
        features, mask = self.embedded(photo), tf.constant(mask[None])
        return features, mask, self.model.inference.tune(features, mask)

    def found(self, supports):
        features, masks, tuned = zip(*supports, strict=True)
        return found_by_others(self.model.inference, features, masks, tuned,
                               self.point.threshold(len(tuned) - 1), self.config.model.fusion)

    def counts(self, episode, supports):
        """(intersection, union) of the query's answer."""
        tuned, truth = [one[2] for one in supports], self.bank.mask(episode.query,
                                                                    episode.class_id)
        probability = self.model.inference.segment(
            self.embedded(episode.query), tf.concat([one.prototype for one in tuned], 0)[None],
            tf.concat([one.score for one in tuned], 0)[None], truth.shape,
            self.config.model.fusion)[0].numpy()
        found, counted = probability >= self.point.threshold(len(tuned)), truth != 255
        return (found & (truth == 1)).sum(), ((found & counted) | (truth == 1)).sum()

    def spoilt(self, episode, other, place, how):
        """One support with a wrong mark."""
        if how == "another class":
            photo, class_id = other.support[0], other.support_class_id
            return self.tuned(photo, self.bank.mask(photo, class_id))
        photo = episode.support[place]
        return self.tuned(photo, moved(self.bank.mask(photo, episode.class_id)))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--part", choices=["validation", "novel"], default="novel")
    parser.add_argument("--episodes", type=int, default=200)
    options = parser.parse_args()
    lab = Lab(options.run, options.part, options.episodes)
    classes = [one.class_id for one in lab.episodes]
    rows = {how: [] for how in ("all right", "mark moved", "another class")}
    for number, (episode, other) in enumerate(zip(lab.episodes, lab.others, strict=True)):
        right = [lab.tuned(photo, lab.bank.mask(photo, episode.class_id))
                 for photo in episode.support]
        place = number % SHOTS
        for how, kept in rows.items():
            shown = list(right)
            if how != "all right":
                shown[place] = lab.spoilt(episode, other, place, how)
            others, answers = lab.found(shown), [lab.counts(episode, shown)]
            answers += [lab.counts(episode, shown[:i] + shown[i + 1:]) for i in range(SHOTS)]
            kept.append((others, place, np.array(answers)))
    photos = [(one.query, *one.support) for one in lab.episodes]
    weights = bootstrap.photo_weights(photos, 2000)
    for how, kept in rows.items():
        for share in SHARES:
            names = [named(others, share) for others, _, _ in kept]
            called = np.mean([one is not None for one in names])
            hit = np.mean([one == place for one, (_, place, _) in zip(names, kept, strict=True)])
            chosen = [0 if one is None else one + 1 for one in names]
            before = np.array([answers[0] for _, _, answers in kept])
            after = np.array([answers[i] for i, (_, _, answers) in zip(chosen, kept, strict=True)])
            gain, low, high = difference(after, before, classes, weights)
            print(f"| {how} | {share} | {called:.2f} | {hit:.2f} | {miou(before, classes):.3f} | "
                  f"{miou(after, classes):.3f} | {gain:+.3f} ({low:+.3f} .. {high:+.3f}) |")


def miou(counts, classes, weights=None):
    """Mean over classes of summed intersections over summed unions."""
    weights = np.ones(len(counts)) if weights is None else weights
    return float(np.mean([(counts[some, 0] @ weights[some]) / (counts[some, 1] @ weights[some])
                          for some in (np.array(classes) == one for one in set(classes))]))


def difference(after, before, classes, weights):
    """(gain, lower and upper bound of its 95 % interval over photos)."""
    gains = [miou(after, classes, one) - miou(before, classes, one) for one in weights]
    return (miou(after, classes) - miou(before, classes), *bootstrap.interval(np.array(gains)))


if __name__ == "__main__":
    main()
