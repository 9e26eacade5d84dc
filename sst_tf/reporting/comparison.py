# SPDX-License-Identifier: Apache-2.0
"""Runs side by side, each paired with the first."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sst_tf.evaluation import bootstrap
from sst_tf.evaluation.stored import POINTS, Evaluation
from sst_tf.reporting.document import Table

UNTRAINED = ("all_foreground", "prototype")
HEAD = ("", "mIoU at 0.5", "95 %", "mIoU at chosen", "95 %", "chosen", "area at 0.5",
        "area at chosen", "support IoU before, after")


def table(evaluations: list[Evaluation]) -> Table:
    """Each untrained answer once, by which runs it is of where these differ; then a row a run."""
    return Table(HEAD, list(_rows(evaluations)))


def _rows(evaluations):
    for name in UNTRAINED:
        names = {}  # of the runs that share a score
        for one in evaluations:
            if entry := one.results["scores"].get(name):  # N-way evaluations have none
                names.setdefault((f"{entry['miou']:.3f}", _span(entry["miou_interval"]), "", "",
                                  "", f"{entry['area_ratio']:.2f}", "", ""), []).append(one.name)
        for cells, some in names.items():
            of = f" ({', '.join(some)})" if len(names) > 1 else ""
            yield (name.replace("_", " ") + of, *cells)
    for one in evaluations:
        iou = one.results["support_iou"]
        for kind in ("tuned", "untuned"):
            if kind not in one.results["scores"]:
                continue
            entry = one.results["scores"][kind]
            label = one.name if kind == "tuned" else f"{one.name}, step left out (diagnostic)"
            after = f"{iou['before']:.3f}, {iou['after']:.3f}" if kind == "tuned" else ""
            there, area = ("", "", ""), ""
            # A preset's thresholds, and those kept under train.init, are of tuned answers alone.
            if at := entry.get("threshold"):
                there = (f"{at['miou_at_chosen']:.3f}", _span(at["interval"]),
                         f"{at['chosen']:.2f}")
                area = f"{at['area_ratio_at_chosen']:.2f}"
            yield (label, f"{entry['miou']:.3f}", _span(entry["miou_interval"]), *there,
                   f"{entry['area_ratio']:.2f}", area, after)


def differences(evaluations: list[Evaluation], resamples: int) -> Iterator[dict[str, Any]]:
    """Each run minus the first, on the same resamples of the same episodes' photos.

    Yields:
        {"run", "against", "point" ("half" or "chosen"), "difference", "interval"}.
    """
    first = evaluations[0]
    weights = bootstrap.photo_weights(first.counts.photos, resamples)
    ones = np.ones((1, weights.shape[1]))
    for other in evaluations[1:]:
        for point in POINTS:
            at = [float(e.resampled(point, ones)[0]) for e in (other, first)]
            spread = other.resampled(point, weights) - first.resampled(point, weights)
            yield {"run": other.name, "against": first.name, "point": point,
                   "difference": at[0] - at[1], "interval": bootstrap.interval(spread)}


def over_seeds(group: list[Evaluation], yardsticks: list[Evaluation], resamples: int
               ) -> Iterator[dict[str, Any]]:
    """Mean difference of two groups of runs, seed by seed, on the same resamples.

    The interval resamples photos for the mean over seeds.

    Yields:
        {"point", "difference", "interval", "by_seed"}.
    """
    weights = bootstrap.photo_weights(group[0].counts.photos, resamples)
    ones = np.ones((1, weights.shape[1]))
    for point in POINTS:
        spread, at = (np.mean([a.resampled(point, w) - b.resampled(point, w)
                               for a, b in zip(group, yardsticks, strict=True)], axis=axis)
                      for w, axis in ((weights, 0), (ones, 1)))
        yield {"point": point, "difference": float(at.mean()),
               "interval": bootstrap.interval(spread), "by_seed": [float(one) for one in at]}


def line_of(difference: dict[str, Any]) -> str:
    """One of `differences` or of `over_seeds` as a line for people."""
    words, span = POINTS[difference["point"]], _span(difference["interval"], "+")
    if "by_seed" not in difference:
        return (f"{difference['run']} minus {difference['against']}, {words}: "
                f"{difference['difference']:+.3f}, 95 % {span}")
    seeds = difference["by_seed"]
    return (f"mean over {len(seeds)} seeds, {words}: {difference['difference']:+.3f}, 95 % over "
            f"photos {span}, by seed " + ", ".join(f"{value:+.3f}" for value in seeds))


def _span(interval, sign=""):
    return f"{interval[0]:{sign}.3f} .. {interval[1]:{sign}.3f}"
