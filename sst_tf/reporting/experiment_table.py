# SPDX-License-Identifier: Apache-2.0
"""Results of many runs as the tables of a paper: folds, seeds, spread, paired differences."""

from collections.abc import Iterator

from sst_tf.evaluation.stored import POINTS
from sst_tf.experiments.grid import Cell, Experiment
from sst_tf.experiments.summary import summary
from sst_tf.reporting import document
from sst_tf.reporting.document import Heading, Items, Paragraph, Part, Table

GAUGES = "Gauges, means over folds and seeds"  # the heading of their table


def markdown(experiment: Experiment, cells: list[Cell]) -> str:
    """The tables of an experiment as Markdown."""
    return document.markdown(parts(experiment, cells))


def parts(experiment: Experiment, cells: list[Cell]) -> list[Part]:
    """Heading, facts, and a table with its differences for each number of shots and threshold."""
    return parts_of(summary(experiment, cells))


def parts_of(found: dict) -> list[Part]:
    """As `parts`, of an experiment's `summary`."""
    made: list[Part] = [Heading(found["title"])]
    facts = [(name.capitalize(), found[name]) for name in ("source", "protocol", "expect")
             if found[name]]
    if facts:
        made.append(Items(facts))
    if not found["tables"]:
        return [*made, Paragraph("No run of it is there yet.")]
    for one in found["tables"]:
        made += [Heading(f"{one['shots']}-shot, mIoU {POINTS[one['point']]}", 3),
                 *table_of(found, one)]
    return [*made, *gauges_of(found), Paragraph(cost_of(found))]


def table_of(found: dict, one: dict) -> list[Part]:
    """A table of a summary, what it was measured on, and its differences."""
    seeds = f"Seeds {', '.join(str(s) for s in one['seeds'])}" + (
        "; ± is their standard deviation." if len(one["seeds"]) > 1 else ".")
    partly = [f"{row}: {', '.join(map(str, cells['mean_seeds']))}"
              for row, cells in one["rows"].items()
              if cells.get("mean_seeds") and cells["mean_seeds"] != one["seeds"]]
    if partly:
        seeds += f" Means are of the seeds that all folds have ({'; '.join(partly)})."
    made: list[Part] = [_table(found, one), Paragraph(f"{one['episodes']} {seeds}")]
    if told_of := list(_reservations(found, str(one["shots"]))):
        made.append(Items.of(told_of))
    if one["differences"]:
        made.append(Items.of(_differences(one)))
    return made


def _reservations(found, shots) -> Iterator[str]:
    """By what the tested classes of some runs were not unseen, a line a row."""
    runs = {}
    for run in found["runs"]:
        for words in run["evaluations"].get(shots, {}).get("reservations", []):
            runs.setdefault((run["row"], words), []).append(run)
    for (row, words), some in runs.items():
        yield f"{row} {words}: fold {_runs(some)}"


def _table(found, one):
    folds = list(next(iter(one["rows"].values()))["folds"])
    paper = {row: values[str(one["shots"])] for row, values in found["paper"].items()
             if one["point"] == "half" and str(one["shots"]) in values}
    several = any(row["over_seeds"] for row in one["rows"].values())
    columns = ["", *(f"fold {fold}" for fold in folds), "mean", "95 % over photos",
               *(["95 % over seeds"] if several else []), "FB-IoU", "trained on"]
    rows = []
    for name in dict.fromkeys([*one["rows"], *paper]):
        row = one["rows"].get(name)
        if row is not None:
            rows.append([name, *(_fold(row["folds"][fold]) for fold in folds),
                         _points(row["mean"]), _span(row["over_photos"]),
                         *([_span(row["over_seeds"])] if several else []),
                         _points(row["fb_iou"]), _photos(found, name)])
        if name in paper:
            note = f" ({found['paper_notes'][name]})" if name in found["paper_notes"] else ""
            theirs = [str(paper[name].get(fold, "")) for fold in [*folds, "mean"]]
            rows.append([f"{name}, the paper's{note}", *theirs, "", *([""] if several else []), "",
                         f"{found['paper_photos']:,} photos" if found["paper_photos"] else ""])
    return Table(columns, rows)


def _fold(value):
    if value["mean"] is None:
        return "missing"
    return _points(value["mean"]) + ("" if value["sd"] is None else f" ± {100 * value['sd']:.1f}")


def _points(value):
    return "" if value is None else f"{100 * value:.1f}"


def _span(interval, sign=""):
    return "" if interval is None else (f"{100 * interval[0]:{sign}.1f} .. "
                                        f"{100 * interval[1]:{sign}.1f}")


def _photos(found, row):
    """Photos that a row's runs were trained on, the fewest and the most of its folds."""
    counts = [sum(one["photos"]["train"].values()) for one in found["runs"]
              if one["row"] == row and one["photos"]]
    if not counts:
        return ""
    least, most = min(counts), max(counts)
    return f"{least:,} photos" if least == most else f"{least:,} to {most:,} photos"


def _differences(one) -> Iterator[str]:
    for entry in one["differences"]:
        cells = "; ".join(f"fold {fold} " + ", ".join(f"{100 * v:+.1f}" for v in values)
                          for fold, values in entry["folds"].items())
        by_seed = ""
        if entry["over_seeds"]:
            by_seed = (f", over {entry['over_seeds'][2]} training seeds "
                       f"{_span(entry['over_seeds'], '+')}")
        # Files of earlier versions do not say of how many folds.
        some = f" ({len(entry['folds'])} of {entry['of_folds']} folds)" if (
            "of_folds" in entry) else ""
        yield (f"{entry['row']} minus {entry['other']}{some}: {100 * entry['mean']:+.1f} points, "
               f"95 % over photos {_span(entry['over_photos'], '+')}{by_seed} ({cells})")


def gauges_of(found: dict) -> list[Part]:
    """What explains the scores: supports, thresholds, presence; means as the tables' are.

    Of the seeds that all folds have; where there are none, of all runs, which the table names.
    """
    rows = {}
    for run in found["runs"]:
        for shots, one in run["evaluations"].items():
            rows.setdefault((run["row"], shots), []).append((run, one))
    if not rows:
        return []
    table = []
    for (row, shots), some in rows.items():
        some = _whole(found, row, int(shots), some)
        iou = [one["support_iou"] for _, one in some]
        table.append([
            row, _runs(run for run, _ in some), shots,
            f"{_mean(i['before'] for i in iou)}, {_mean(i['after'] for i in iou)}",
            _mean(run["other_class"] if shots == "1" else None for run, _ in some),
            f"{_mean(one['chosen'] for _, one in some)}",
            _mean(one["presence_auc"] for _, one in some),
            _highest(run.get("highest_loss") for run, _ in some),
            f"{sum(run['minutes'] for run, _ in some) / len(some):.1f}"])
    return [Heading(GAUGES, 3), Table(
        ["", "folds and seeds", "shots", "support IoU before, after",
         "a support of another class: mIoU at chosen, first 400", "threshold chosen",
         "presence AUC", "highest query loss of an epoch, of any run", "minutes of training"],
        table)]


def _whole(found, row, shots, some):
    """Of a row's (run, evaluation) those of `mean_seeds`; all of them where there are none."""
    seeds = next((table["rows"][row].get("mean_seeds", []) for table in found["tables"]
                  if table["shots"] == shots and row in table["rows"]), [])
    return [one for one in some if one[0]["seed"] in seeds] or some


def _runs(runs):
    by_seed = {}
    for run in runs:
        by_seed.setdefault(run["seed"], []).append(run["fold"])
    return "; ".join(f"{', '.join(sorted(folds))} of seed {seed}"
                     for seed, folds in sorted(by_seed.items()))


def _mean(values):
    values = list(values)
    return "" if None in values else f"{sum(values) / len(values):.2f}"


def _highest(values):
    """Tells a training that came apart on its way, whatever it ended with."""
    values = list(values)
    return "" if None in values else f"{max(values):.2f}"


def cost_of(found: dict) -> str:
    """Hours of the trainings, by the runs' own histories; photos by fold."""
    hours, parts = found["hours"], {}
    for run in found["runs"]:
        if run["photos"]:
            trained = sorted(run["photos"]["train"].items(), key=lambda part: -part[1])
            parts[run["fold"]] = " + ".join(f"{count:,} of {name}" for name, count in trained)
    words = "; ".join(f"fold {fold} {some}" for fold, some in sorted(parts.items()))
    several = "s" if hours["trainings"] > 1 else ""
    return (f"{hours['trainings']} training{several} took {hours['training']:.1f} hours by their "
            "own histories, validation and evaluation not counted."
            + (f" Photos trained on: {words}." if words else ""))
