# SPDX-License-Identifier: Apache-2.0
"""Does leaving one out tell which of five marked photos has a wrong mark, and does that help?

    python docs/results/wrong_marks.py runs/pascal5i_resnet18

Five photos of a class teach it. Then one of them is spoilt: its mark lies half a photo further, or
it is a photo of another class under that class's mark. Of several scores of how well a photo agrees
with the other four, prints how often the lowest is below a limit, how often that is the spoilt
photo's, the mIoU of queries with all five, and what leaving the named photo out adds. Held-out
photos of base classes set the limit: one right teaching in ten may be called.
"""

import argparse

import numpy as np
import tensorflow as tf
from opened import Opened
from paired import counted, gain, miou

from sst_tf.photos.teaching import found_by_others, likeness

SHOTS = 5
CALM = 0.1  # share of right teachings in which a photo may be named


def over_the_others(values, _):
    """IoU with which the others find a photo's mark, over their mean."""
    return [one / max(np.delete(values, i).mean(), 1e-9) for i, one in enumerate(values)]


def alike(_, prototypes):
    """Mean cosine of a photo's prototype with the others' (`teaching.likeness`)."""
    return list(likeness(prototypes))


def both(values, prototypes):
    """The product."""
    return np.array(over_the_others(values, prototypes)) * alike(values, prototypes)


SCORES = {"IoU by the others, over their mean": over_the_others,
          "IoU by the others": lambda values, _: values,
          "cosine of prototypes": alike, "first times third": both}


def moved(mask):
    """A mark half a photo further, both ways."""
    return np.roll(mask, (mask.shape[0] // 2, mask.shape[1] // 2), (0, 1))


class Lab(Opened):
    """A run's model and a part's episodes."""

    def __init__(self, folder, part, episodes):
        super().__init__(folder)
        self.episodes = self.sampler(part, SHOTS).take(episodes)
        self.others = self.sampler(part, SHOTS, mismatched=True).take(episodes)
        self.photos = self.bank(part, self.episodes + self.others)

    def embedded(self, photo):
        return self.model.inference.embed_features(self.store.read(photo)[None])

    def tuned(self, photo, mask):
        features, mask = self.embedded(photo), tf.constant(mask[None])
        return features, mask, self.model.inference.tune(features, mask)

    def found(self, supports):
        features, masks, tuned = zip(*supports, strict=True)
        return found_by_others(self.model.inference, features, masks, tuned,
                               self.point.threshold(len(tuned) - 1), *self.config.model.answering)

    def counts(self, episode, supports):
        """(intersection, union) of the query's answer."""
        tuned, truth = [one[2] for one in supports], self.photos.mask(episode.query,
                                                                    episode.class_id)
        probability = self.model.inference.segment(
            self.embedded(episode.query), tf.concat([one.prototype for one in tuned], 0)[None],
            tf.concat([one.score for one in tuned], 0)[None], truth.shape,
            *self.config.model.answering)[0].numpy()
        return counted(probability >= self.point.threshold(len(tuned)), truth)

    def spoilt(self, episode, other, place, how):
        """One support with a wrong mark."""
        if how == "another class":
            photo, class_id = other.support[0], other.support_class_id
            return self.tuned(photo, self.photos.mask(photo, class_id))
        photo = episode.support[place]
        return self.tuned(photo, moved(self.photos.mask(photo, episode.class_id)))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--episodes", type=int, default=200)
    options = parser.parse_args()
    limits = {}
    for part in ("validation", "novel"):
        measure(Lab(options.run, part, options.episodes), part, limits)


def measure(lab, part, limits):
    """Print a part's table; the base classes' sets the limits."""
    classes = [one.class_id for one in lab.episodes]
    rows = {how: [] for how in ("all right", "mark moved", "another class")}
    for number, (episode, other) in enumerate(zip(lab.episodes, lab.others, strict=True)):
        right = [lab.tuned(photo, lab.photos.mask(photo, episode.class_id))
                 for photo in episode.support]
        place = number % SHOTS
        for how, kept in rows.items():
            shown = list(right)
            if how != "all right":
                shown[place] = lab.spoilt(episode, other, place, how)
            prototypes = np.concatenate([one[2].prototype for one in shown])
            answers = [lab.counts(episode, shown)]
            answers += [lab.counts(episode, shown[:i] + shown[i + 1:]) for i in range(SHOTS)]
            others = lab.found(shown)
            scores = {name: score(others, prototypes) for name, score in SCORES.items()}
            kept.append((scores, place, answers))
    photos = [(one.query, *one.support) for one in lab.episodes]
    for name in SCORES:
        if part == "validation":
            limits[name] = float(np.quantile(
                [min(scores[name]) for scores, _, _ in rows["all right"]], CALM))
        for how, kept in rows.items():
            names = [int(np.argmin(scores[name])) if min(scores[name]) < limits[name] else None
                     for scores, _, _ in kept]
            called = np.mean([one is not None for one in names])
            hit = np.mean([one == place for one, (_, place, _) in zip(names, kept, strict=True)])
            chosen = [0 if one is None else one + 1 for one in names]
            before = [answers[0] for _, _, answers in kept]
            after = [answers[i] for i, (_, _, answers) in zip(chosen, kept, strict=True)]
            more, low, high = gain(after, before, classes, photos)
            print(f"| {part} | {name} below {limits[name]:.2f} | {how} | {called:.2f} | {hit:.2f} "
                  f"| {miou(before, classes):.3f} | {more:+.3f} ({low:+.3f} .. {high:+.3f}) |",
                  flush=True)


if __name__ == "__main__":
    main()
