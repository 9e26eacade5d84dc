# SPDX-License-Identifier: Apache-2.0
"""What an inner step of step_search.py adds, paired over episodes, the mean of several seeds.

    python docs/results/step_pairs.py self crop --against none --seeds 0 1 2
    python docs/results/step_pairs.py self crop --against untuned --seeds 0 1 2

"untuned" is the same weights without the step; `--path second` compares second looks. Intervals are
95 % over photos, resampled once for all seeds, which share their episodes.
"""

import argparse
from pathlib import Path

import numpy as np

from sst_tf.evaluation.bootstrap import interval, photo_weights
from sst_tf.evaluation.metrics import pooled_iou


def mean_iou(counts, path, point, weights):
    """[1 + R]: of the episodes, then of every resample."""
    return pooled_iou(*counts[f"{path}_{point}"], counts["class_ids"], weights)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="+")
    parser.add_argument("--against", default="none", help="a mode, or untuned")
    parser.add_argument("--path", default="tuned", choices=["tuned", "second"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--output", type=Path, default=Path("runs/step_search"))
    options = parser.parse_args()

    def load(mode, seed, shots):
        return dict(np.load(options.output / f"{mode}_{seed}_{shots}.npz"))

    for shots in options.shots:
        photos = load(options.modes[0], options.seeds[0], shots)["photos"]
        weights = photo_weights(list(map(tuple, photos)), 1000)
        weights = np.concatenate([np.ones((1, len(photos))), weights])
        for mode in options.modes:
            for point in ("half", "chosen"):
                found = []
                for seed in options.seeds:
                    one = load(mode, seed, shots)
                    other = (one if options.against == "untuned"
                             else load(options.against, seed, shots))
                    if any((each["photos"] != photos).any() for each in (one, other)):
                        raise SystemExit(f"{mode}, seed {seed}: other episodes")
                    path = "untuned" if options.against == "untuned" else options.path
                    found.append(mean_iou(one, options.path, point, weights)
                                 - mean_iou(other, path, point, weights))
                low, high = interval(np.mean(found, axis=0)[1:])
                print(f"{shots}-shot, {point}: {mode} minus {options.against} "
                      f"{np.mean(found, axis=0)[0]:+.4f} ({low:+.4f} to {high:+.4f}); seeds "
                      + ", ".join(f"{values[0]:+.4f}" for values in found))


if __name__ == "__main__":
    main()
