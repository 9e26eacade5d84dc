# SPDX-License-Identifier: Apache-2.0
"""Results of many runs as the tables of a paper: folds, seeds, spread, paired differences."""

import numpy as np
from scipy import stats

from sst_tf.evaluation import bootstrap
from sst_tf.evaluation.stored import POINTS, Evaluation, refuse_unequal
from sst_tf.experiments.grid import Cell, Experiment
from sst_tf.reporting import document
from sst_tf.reporting.document import Heading, Items, Paragraph, Table

RESAMPLES = 1000


class Grid:
    """Evaluations of an experiment at k shots.

    Args:
        cells: `Cell`s whose results are there.
        shots: k.
    """

    def __init__(self, cells, shots):
        self.cells = {(c.row, c.fold, c.seed): Evaluation(
            c.folder, shots, config=c.config) for c in cells}
        self.rows, self.folds, self.seeds = (list(dict.fromkeys(key[i] for key in self.cells))
                                             for i in range(3))
        for fold in self.folds:
            refuse_unequal([e for key, e in self.cells.items() if key[1] == fold])
        self._weights = {}

    def score(self, row: str, fold: str, seed: int, point: str) -> float:
        """Mean IoU of a cell that is there."""
        one = self.cells[row, fold, seed]
        return float(one.resampled(point, self._ones(one))[0])

    def mean(self, row: str, fold: str, point: str) -> tuple[float | None, float | None]:
        """(mean over seeds, their standard deviation or None) of a fold."""
        found = [self.score(row, fold, seed, point) for seed in self.seeds
                 if (row, fold, seed) in self.cells]
        if not found:
            return None, None
        return float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None

    def over_folds(self, row: str, point: str) -> tuple[float | None, list[float] | None]:
        """(mean over folds and seeds, 95 % over photos); None where a fold is missing."""
        if any((row, fold, seed) not in self.cells for fold in self.folds for seed in self.seeds):
            return None, None
        spread = self._resampled(row, point)
        mean = np.mean([self.mean(row, fold, point)[0] for fold in self.folds])
        return float(mean), bootstrap.interval(spread)

    def difference(self, row: str, other: str, point: str
                   ) -> tuple[float, list[float], dict[str, list[float]]] | None:
        """Mean difference over the cells that both rows have, 95 % over photos, by cell.

        Photos are resampled within each fold, the same for both rows; the interval is of the mean
        over folds and seeds.
        """
        pairs = [(fold, seed) for fold in self.folds for seed in self.seeds
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

    def over_seeds(self, row: str, other: str, point: str) -> tuple[float, float, int] | None:
        """95 % of the mean difference over training seeds, by Student's t; None with one seed.

        A seed counts where all folds have both rows.
        """
        values = [np.mean([self.score(row, fold, seed, point) - self.score(other, fold, seed, point)
                           for fold in self.folds])
                  for seed in self.seeds if all((one, fold, seed) in self.cells
                                                for one in (row, other) for fold in self.folds)]
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

    def _resampled(self, row, point):
        return np.mean([np.mean([self.cells[row, fold, seed].resampled(
            point, self._fold_weights(fold, self.cells[row, fold, seed]))
            for seed in self.seeds], axis=0) for fold in self.folds], axis=0)

    def _fold_weights(self, fold, evaluation):
        if fold not in self._weights:
            self._weights[fold] = bootstrap.photo_weights(
                evaluation.counts.photos, RESAMPLES, seed=len(self._weights))
        return self._weights[fold]

    @staticmethod
    def _ones(evaluation: Evaluation) -> np.ndarray:
        return np.ones((1, len(evaluation.counts.class_ids)))


def markdown(experiment: Experiment, cells: list[Cell]) -> str:
    """The tables of an experiment as Markdown."""
    return document.markdown(parts(experiment, cells))


def parts(experiment: Experiment, cells: list[Cell]) -> list[document.Part]:
    """Heading, facts, and a table with its differences for each number of shots and threshold."""
    made: list[document.Part] = [Heading(experiment.title)]
    facts = [(name.capitalize(), getattr(experiment, name))
             for name in ("source", "protocol", "expect") if getattr(experiment, name)]
    if facts:
        made.append(Items(facts))
    if not cells:
        return [*made, Paragraph("No run of it is there yet.")]
    for shots in experiment.shots:
        grid = Grid(cells, shots)
        seeds = f"Seeds {', '.join(str(s) for s in grid.seeds)}" + (
            "; ± is their standard deviation." if len(grid.seeds) > 1 else ".")
        for point, words in POINTS.items():
            made += [Heading(f"{shots}-shot, mIoU {words}", 3),
                     _table(grid, experiment, shots, point),
                     Paragraph(f"{grid.episodes()} {seeds}")]
            if lines := list(_differences(grid, experiment, point)):
                made.append(Items.of(lines))
    return made


def _table(grid, experiment, shots, point):
    published = bool(experiment.paper) and point == "half"
    rows = []
    for row in experiment.rows:
        if row not in grid.rows:
            continue
        texts = [row]
        for fold in grid.folds:
            mean, spread = grid.mean(row, fold, point)
            texts.append("missing" if mean is None else f"{100 * mean:.1f}" + (
                f" ± {100 * spread:.1f}" if spread is not None else ""))
        mean, interval = grid.over_folds(row, point)
        texts += ["", ""] if mean is None else [
            f"{100 * mean:.1f}", f"{100 * interval[0]:.1f} .. {100 * interval[1]:.1f}"]
        if published:
            values = experiment.paper.get(row, {}).get(shots, [])
            texts.append(", ".join(str(v) for v in values))
        rows.append(texts)
    return Table(["", *(f"fold {fold}" for fold in grid.folds), "mean", "95 % over photos",
                  *(["paper"] if published else [])], rows)


def _differences(grid, experiment, point):
    for row, other in experiment.differences:
        found = grid.difference(row, other, point) if {row, other} <= set(grid.rows) else None
        if found is None:
            continue
        mean, (low, high), folds = found
        cells = "; ".join(f"fold {fold} " + ", ".join(f"{100 * v:+.1f}" for v in values)
                          for fold, values in folds.items())
        by_seed = ""
        if seeds := grid.over_seeds(row, other, point):
            by_seed = (f", over {seeds[2]} training seeds {100 * seeds[0]:+.1f} .. "
                       f"{100 * seeds[1]:+.1f}")
        yield (f"{row} minus {other}: {100 * mean:+.1f} points, 95 % over photos "
               f"{100 * low:+.1f} .. {100 * high:+.1f}{by_seed} ({cells})")
