"""Results files read back, with the counts that paired comparisons are made of."""

import json

import numpy as np

from pipelines.errors import UserError
from sst_tf.evaluation import metrics
from sst_tf.runs.directory import Run

POINTS = {"half": "at 0.5", "chosen": "at the base-chosen threshold"}
SAME = ("name", "dataset", "novel_classes", "split", "shots", "ways", "image_size", "resize",
        "scoring", "void_query", "void_support", "views", "episodes_sha256")


def evaluation_name(shots, fusion="weighted"):
    """Name of a results file of novel classes."""
    return f"novel_{shots}shot" + ("" if fusion == "weighted" else f"_{fusion}")


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
