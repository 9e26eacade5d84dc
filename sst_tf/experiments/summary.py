# SPDX-License-Identifier: Apache-2.0
"""What the runs of an experiment say, in numbers: all that its tables show, small enough to keep.

Intervals and paired differences need every episode's counts, which lie in the runs' folders. The
summary has them worked out, so that tables can be made again from it alone.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from pipelines.errors import UserError
from pipelines.sealed import read_sealed, told
from sst_tf.evaluation import bootstrap
from sst_tf.evaluation.stored import (
    ASKED,
    POINTS,
    Evaluation,
    of_another_model,
    refuse_unequal,
    reservations,
    under_own_protocol,
)
from sst_tf.experiments.grid import Cell, Experiment
from sst_tf.runs.directory import Run

RESAMPLES = 1000


class Grid:
    """Evaluations of an experiment at k shots.

    Args:
        cells: `Cell`s whose results are there.
        shots: k.
        folds: those of the experiment, where a fold may have no cell yet.
    """

    def __init__(self, cells: Sequence[Cell], shots: int, folds: Sequence[str] | None = None):
        self.cells = {(c.row, c.fold, c.seed): Evaluation(
            c.folder, shots, config=c.config) for c in cells}
        self.rows = list(dict.fromkeys(row for row, _, _ in self.cells))
        self.folds = list(folds or dict.fromkeys(fold for _, fold, _ in self.cells))
        self.seeds = sorted({seed for _, _, seed in self.cells})
        _refuse_two_models(zip(cells, self.cells.values(), strict=True))
        for fold in {fold for _, fold, _ in self.cells}:
            # A row says by its name how it asks.
            refuse_unequal([e for key, e in self.cells.items() if key[1] == fold], but=ASKED)
        self._weights = {}

    def score(self, row: str, fold: str, seed: int, point: str) -> float:
        """Mean IoU of a cell that is there."""
        one = self.cells[row, fold, seed]
        return float(one.resampled(point, self._ones(one))[0])

    def whole_seeds(self, row: str) -> list[int]:
        """Training seeds of which a row has a cell in every fold: those that a mean is made of."""
        return [seed for seed in self.seeds
                if all((row, fold, seed) in self.cells for fold in self.folds)]

    def mean(self, row: str, fold: str, point: str) -> tuple[float | None, float | None]:
        """(mean over seeds, their standard deviation or None) of a fold."""
        found = [self.score(row, fold, seed, point) for seed in self.seeds
                 if (row, fold, seed) in self.cells]
        if not found:
            return None, None
        return float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None

    def over_folds(self, row: str, point: str) -> tuple[float | None, list[float] | None]:
        """(mean over folds and `whole_seeds`, 95 % over photos); None where there are none."""
        seeds = self.whole_seeds(row)
        if not seeds:
            return None, None
        mean = np.mean([self.score(row, fold, seed, point)
                        for fold in self.folds for seed in seeds])
        return float(mean), bootstrap.interval(self._resampled(row, point, seeds))

    def of_mean(self, row: str, fold: str, point: str) -> float | None:
        """What a fold adds to the mean of `over_folds`: its own over `whole_seeds`."""
        values = [self.score(row, fold, seed, point) for seed in self.whole_seeds(row)]
        return float(np.mean(values)) if values else None

    def fb_iou(self, row: str, point: str) -> float | None:
        """Mean over folds and `whole_seeds`; None without any, or of an earlier version's file."""
        if not (seeds := self.whole_seeds(row)):
            return None
        found: list[float] = []
        for fold in self.folds:
            for seed in seeds:
                entry = self.cells[row, fold, seed].results["scores"]["tuned"]
                value = (entry.get("fb_iou") if point == "half" else
                         entry["threshold"].get("fb_iou_at_chosen"))
                if value is None:
                    return None
                found.append(value)
        return float(np.mean(found))

    def difference(self, row: str, other: str, point: str
                   ) -> tuple[float, list[float], dict[str, list[float]]] | None:
        """Mean difference of two rows, 95 % over photos, by cell.

        Over the `whole_seeds` of both, so that it is the difference of their means; where there
        are none, over the cells that both have. Photos are resampled within each fold, the same
        for both rows; the interval is of the mean over folds and seeds.
        """
        seeds = [seed for seed in self.whole_seeds(row) if seed in self.whole_seeds(other)]
        pairs = [(fold, seed) for fold in self.folds for seed in seeds or self.seeds
                 if (row, fold, seed) in self.cells and (other, fold, seed) in self.cells]
        if not pairs:
            return None
        by_cell = [self.score(row, *pair, point) - self.score(other, *pair, point)
                   for pair in pairs]
        by_fold = {}
        for fold, seed in pairs:
            one, two = self.cells[row, fold, seed], self.cells[other, fold, seed]
            weights = self._fold_weights(fold, one)
            by_fold.setdefault(fold, []).append(
                one.resampled(point, weights) - two.resampled(point, weights))
        spread = np.mean([np.mean(values, axis=0) for values in by_fold.values()], axis=0)
        folds = {}
        for (fold, _), value in zip(pairs, by_cell, strict=True):
            folds.setdefault(fold, []).append(value)
        return (float(np.mean([np.mean(v) for v in folds.values()])), bootstrap.interval(spread),
                folds)

    def over_seeds(self, row: str, other: str | None, point: str
                   ) -> tuple[float, float, int] | None:
        """95 % over training seeds by Student's t, and their number; None with one seed.

        Of the mean over folds of a row, or of its difference to another. A seed counts where all
        folds have the rows.
        """
        rows = [row] if other is None else [row, other]
        values = []
        for seed in self.seeds:
            if all(seed in self.whole_seeds(one) for one in rows):
                by_fold = [[self.score(one, fold, seed, point) for one in rows]
                           for fold in self.folds]
                values.append(np.mean([scores[0] - sum(scores[1:]) for scores in by_fold]))
        if len(values) < 2:
            return None
        reach = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        return float(np.mean(values) - reach), float(np.mean(values) + reach), len(values)

    def episodes(self) -> str:
        """Episodes and photos of each fold, in words."""
        by_fold = {}
        for (_, fold, _), one in self.cells.items():
            photos = {name for row in one.counts.photos for name in row}
            by_fold[fold] = f"{len(one.counts.photos)} of {len(photos)}"
        if len(set(by_fold.values())) == 1:
            return f"Episodes a fold: {next(iter(by_fold.values()))} photos."
        return "Episodes: " + "; ".join(f"fold {fold} {words} photos"
                                        for fold, words in by_fold.items()) + "."

    def _resampled(self, row, point, seeds):
        return np.mean([np.mean([self.cells[row, fold, seed].resampled(
            point, self._fold_weights(fold, self.cells[row, fold, seed]))
            for seed in seeds], axis=0) for fold in self.folds], axis=0)

    def _fold_weights(self, fold, evaluation):
        if fold not in self._weights:
            self._weights[fold] = bootstrap.photo_weights(
                evaluation.counts.photos, RESAMPLES, seed=len(self._weights))
        return self._weights[fold]

    @staticmethod
    def _ones(evaluation: Evaluation) -> np.ndarray:
        return np.ones((1, len(evaluation.counts.class_ids)))


def _refuse_two_models(pairs):
    """Cells of one run are answers of one model; their differences are of how it is asked."""
    first = {}
    for cell, one in pairs:
        other = first.setdefault(cell.folder, one)
        if of_another_model(one.results, other.results):
            raise UserError(f"{cell.folder}: its results are of two models; remove those of one "
                            "and start again")


def summary(experiment: Experiment, cells: list[Cell]) -> dict:
    """All that the tables of an experiment show, JSON-able.

    Args:
        cells: those whose results are there.
    """
    return _rounded({
        "schema": 1, "name": experiment.name, "title": experiment.title,
        "source": experiment.source, "protocol": experiment.protocol, "expect": experiment.expect,
        "paper": experiment.paper_rows(), "paper_notes": experiment.paper_notes,
        "paper_photos": experiment.paper_photos,
        "hours": _hours(cells), "runs": _runs(cells),
        "tables": [_table(experiment, grid, shots, point)
                   for shots in dict.fromkeys(k for cell in cells for k in cell.shots)
                   for grid in [Grid([cell for cell in cells if shots in cell.shots], shots,
                                     list(experiment.folds))]
                   for point in POINTS] if cells else []})


def _rounded(value):
    """Floats to six decimals: a file of scores, not of bits."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


def _table(experiment, grid, shots, point):
    rows = {}
    for row in (row for row in experiment.rows if row in grid.rows):
        mean, photos = grid.over_folds(row, point)
        by_fold = {fold: grid.mean(row, fold, point) for fold in grid.folds}
        rows[row] = {
            "folds": {fold: {"mean": value, "sd": sd, "of_mean": grid.of_mean(row, fold, point)}
                      for fold, (value, sd) in by_fold.items()},
            "mean": mean, "mean_seeds": grid.whole_seeds(row), "over_photos": photos,
            "over_seeds": grid.over_seeds(row, None, point), "fb_iou": grid.fb_iou(row, point)}
    differences = []
    for row, other in experiment.differences:
        found = grid.difference(row, other, point) if {row, other} <= set(grid.rows) else None
        if found is not None:
            some = {"of_folds": len(grid.folds)} if len(found[2]) < len(grid.folds) else {}
            differences.append({"row": row, "other": other, "mean": found[0],
                                "over_photos": found[1],
                                "over_seeds": grid.over_seeds(row, other, point),
                                "folds": found[2], **some})
    return {"shots": shots, "point": point, "seeds": grid.seeds, "episodes": grid.episodes(),
            "rows": rows, "differences": differences}


def _hours(cells):
    """Hours of the trainings, each counted once, by the runs' own histories."""
    folders = {cell.folder for cell in cells}
    seconds = sum(float(row["seconds"]) for one in folders for row in Run(one).history()
                  if row.get("seconds"))
    return {"trainings": len(folders), "training": round(seconds / 3600, 2)}


def _runs(cells):
    """Facts of every run, and its gauges by number of shots."""
    found = []
    for cell in cells:
        run = Run(cell.folder)
        history = run.history()
        results = {k: Evaluation(cell.folder, k, config=cell.config).results for k in cell.shots}
        found.append({
            "row": cell.row, "fold": cell.fold, "seed": cell.seed, "run": cell.folder.name,
            "photos": run.photos(),
            "minutes": round(sum(float(r["seconds"] or 0) for r in history) / 60, 1),
            "highest_loss": max((round(float(r["main"]), 2) for r in history if r.get("main")),
                                default=None),
            "other_class": _wrong_support(run, cell.config, results[cell.shots[0]]),
            "evaluations": {str(k): _gauges(one) for k, one in results.items()}})
    return found


def _gauges(results):
    tuned = results["scores"]["tuned"]
    rates = results.get("presence") or {}
    told_of = reservations(results)
    return {
        "commit": results.get("commit"), "model_sha256": results.get("model_sha256"),
        "protocol_sha256": results["protocol"].get("sha256"),
        "episodes_sha256": results["protocol"]["episodes_sha256"],
        "chosen": tuned["threshold"]["chosen"], "support_iou": results["support_iou"],
        "presence_auc": (rates.get("novel") or {}).get("auc"),
        "per_class": {name: None if one["iou"] is None else round(one["iou"], 4)
                      for name, one in tuned["per_class"].items()},
        **({"reservations": told_of} if told_of else {})}


def _wrong_support(run, config, results):
    """mIoU of one shot where the support shows another class, or None.

    It is measured under the run's own protocol alone, and says nothing of another.
    """
    path = run.evaluation_path("support_check")
    if not under_own_protocol(run, config, 1) or not path.is_file():
        return None
    remedy = "remove it: the table then leaves out what it says"
    found = read_sealed(path, remedy)
    with told(path, remedy):
        return None if of_another_model(found, results) else float(found["other_class"])
