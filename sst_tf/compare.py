"""`python -m sst_tf.compare RUN RUN ...`: results side by side, each run paired with the first."""

import json

import numpy as np
from jsonargparse import ArgumentParser

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf import metrics
from sst_tf.runs import Run

POINTS = {"half": "at 0.5", "chosen": "at the base-chosen threshold"}
UNTRAINED = ("all_foreground", "prototype")
SAME = ("name", "dataset", "novel_classes", "split", "shots", "ways", "image_size", "resize",
        "scoring", "void_query", "void_support", "views", "episodes_sha256")


class Evaluation:
    """One results file with its counts."""

    def __init__(self, folder, shots, name=None):
        run = Run(folder)
        path = run.evaluation_path(name or f"novel_{shots}shot")
        if not path.is_file():
            raise UserError(f"{path}: not there; python -m sst_tf.evaluate {folder}")
        self.name = run.folder.name
        self.results = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz")) as arrays:
            self.arrays = dict(arrays)
        empty = np.zeros((len(self.arrays["class_ids"]), 2, 1), np.int64)
        self.counts = metrics.Counts(empty, self.arrays["class_ids"],
                                     [tuple(row) for row in self.arrays["photos"]])

    def resampled(self, point, weights):
        """mIoU under bootstrap weights [R, E]."""
        inter, union = self.arrays[f"tuned_{point}"]
        classes = np.unique(self.counts.class_ids)
        sums = [metrics.class_sums(v, self.counts.class_ids, classes, weights)
                for v in (inter, union)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nanmean(np.where(sums[1] > 0, sums[0] / sums[1], np.nan), axis=-1)


def refuse_unequal(evaluations):
    """Results of unequal protocols are not comparable: name the difference."""
    first = evaluations[0]
    for other in evaluations[1:]:
        for key in SAME:
            a, b = (e.results["protocol"].get(key) for e in (first, other))
            if a != b:
                raise UserError(f"{other.name} and {first.name} differ in {key} ({b!r}, {a!r}): "
                                "their scores cannot be compared")


def rows(evaluations):
    """Markdown rows: untrained answers once, then a row a run."""
    yield ("| | mIoU at 0.5 | 95 % | mIoU at chosen | 95 % | chosen | area at 0.5 | area at chosen "
           "| support IoU before, after |")
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in UNTRAINED:
        entry = evaluations[0].results["scores"].get(name)
        if entry is None:  # N-way evaluations have none
            continue
        low, high = entry["miou_interval"]
        yield (f"| {name.replace('_', ' ')} | {entry['miou']:.3f} | {low:.3f} .. {high:.3f} | | | "
               f"| {entry['area_ratio']:.2f} | | |")
    for one in evaluations:
        iou = one.results["support_iou"]
        for kind in ("tuned", "untuned"):
            if kind not in one.results["scores"]:
                continue
            entry = one.results["scores"][kind]
            at = entry["threshold"]
            label = one.name if kind == "tuned" else f"{one.name}, step left out (diagnostic)"
            after = f"{iou['before']:.3f}, {iou['after']:.3f}" if kind == "tuned" else ""
            yield (f"| {label} | {entry['miou']:.3f} | {_span(entry['miou_interval'])} | "
                   f"{at['miou_at_chosen']:.3f} | {_span(at['interval'])} | {at['chosen']:.2f} | "
                   f"{entry['area_ratio']:.2f} | {at['area_ratio_at_chosen']:.2f} | {after} |")


def differences(evaluations, resamples):
    """Lines: each run minus the first on the same resamples of the same episodes' photos."""
    first = evaluations[0]
    weights = metrics.photo_weights(first.counts, resamples)
    ones = np.ones((1, weights.shape[1]))
    for other in evaluations[1:]:
        for point, words in POINTS.items():
            at = [float(e.resampled(point, ones)[0]) for e in (other, first)]
            spread = other.resampled(point, weights) - first.resampled(point, weights)
            yield (f"{other.name} minus {first.name}, {words}: {at[0] - at[1]:+.3f}, "
                   f"95 % {_span(metrics.interval(spread), '+')}")


def over_seeds(group, yardsticks, resamples):
    """Lines: mean difference of two groups of runs, seed by seed, on the same resamples.

    The interval resamples photos for the mean over seeds; the range is over the seeds.
    """
    weights = metrics.photo_weights(group[0].counts, resamples)
    ones = np.ones((1, weights.shape[1]))
    for point, words in POINTS.items():
        spread, at = (np.mean([a.resampled(point, w) - b.resampled(point, w)
                               for a, b in zip(group, yardsticks, strict=True)], axis=axis)
                      for w, axis in ((weights, 0), (ones, 1)))
        yield (f"mean over {len(group)} seeds, {words}: {at.mean():+.3f}, 95 % over photos "
               f"{_span(metrics.interval(spread), '+')}, by seed "
               + ", ".join(f"{value:+.3f}" for value in at))


def _span(interval, sign=""):
    return f"{interval[0]:{sign}.3f} .. {interval[1]:{sign}.3f}"


@command
def main(argv=None):
    parser = ArgumentParser(prog="python -m sst_tf.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run directories; the first is the yardstick")
    parser.add_argument("--against", nargs="+", default=[], metavar="RUN",
                        help="as many run directories, of the same seeds in the same order: each "
                             "run is then compared with its own, and the mean over seeds printed")
    parser.add_argument("--shots", type=int, default=1, help="which evaluation")
    parser.add_argument("--name", help="file of the evaluation, such as novel_1shot_pfenet")
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap resamples of photos")
    options = parser.parse_args(argv)
    if options.against and len(options.against) != len(options.runs):
        raise UserError(f"{len(options.runs)} runs against {len(options.against)}: one for one is "
                        "due, of the same seeds in the same order")
    evaluations, yardsticks = (
        [Evaluation(folder, options.shots, options.name) for folder in folders]
        for folders in (options.runs, options.against))
    refuse_unequal(evaluations + yardsticks)
    print("\n".join(rows(evaluations + yardsticks)))
    print()
    for line in (over_seeds(evaluations, yardsticks, options.resamples) if yardsticks
                 else differences(evaluations, options.resamples)):
        print("-", line)


if __name__ == "__main__":
    main()
