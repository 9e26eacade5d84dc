"""One page on one or several runs, as Markdown and as HTML in one file."""

import base64
import contextlib
import json
import re
from pathlib import Path

import markdown
import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.sampler import Episode
from pipelines.writing import write_text
from sst_tf.data.run_data import open_data
from sst_tf.evaluation import stored
from sst_tf.evaluation.stored import evaluation_name
from sst_tf.reporting import comparison, drawing, experiment_table, figures
from sst_tf.runs.directory import Run

ROWS = 4  # of episodes in a picture
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#1b1b1f}
h1,h2,h3{line-height:1.2} h2{border-bottom:1px solid #ccc;padding-bottom:.2rem;margin-top:2.5rem}
img{max-width:100%;height:auto} code{overflow-wrap:anywhere} li,p{overflow-wrap:anywhere}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.85rem}
td,th{border:1px solid #ccc;padding:.25rem .5rem;text-align:left;white-space:nowrap}
td:first-child{white-space:normal;min-width:8rem}
@media(prefers-color-scheme:dark){body{background:#18181b;color:#e4e4e7}td,th,h2{border-color:#444}}
"""


class Report:
    """A page in the making.

    Args:
        output: its folder.
    """

    def __init__(self, output):
        self.output, self.lines = Path(output), []

    def add(self, *lines):
        """Append Markdown lines and an empty one."""
        self.lines += [*lines, ""]

    def picture(self, name, pixels, text):
        """An RGB picture with what is to be seen in it."""
        drawing.save(self.output / "figures" / f"{name}.jpg", pixels)
        self.add(f"![{text}](figures/{name}.jpg)", "", text)

    def plot(self, name, draw, *arguments, text):
        """A figure that `draw` writes to a path, with what is to be seen in it."""
        draw(self.output / "figures" / f"{name}.png", *arguments)
        self.add(f"![{text}](figures/{name}.png)", "", text)

    def write(self, title):
        """report.md and report.html; returns the latter's path."""
        text = "\n".join([f"# {title}", "", *self.lines])
        write_text(self.output / "report.md", text)
        body = markdown.markdown(text, extensions=["tables"])
        body = re.sub(r'src="(figures/[^"]+)"', lambda m: f'src="{self._data(m[1])}"', body)
        body = body.replace("<table>", '<div class="wide"><table>').replace("</table>",
                                                                            "</table></div>")
        write_text(self.output / "report.html", (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<link rel="icon" href="data:,"><title>{title}</title><style>{STYLE}</style></head>'
            f"<body>{body}</body></html>"))
        return self.output / "report.html"

    def _data(self, path):
        kind = {".png": "png", ".jpg": "jpeg"}[Path(path).suffix]
        return f"data:image/{kind};base64," + base64.b64encode(
            (self.output / path).read_bytes()).decode()


class Subject:
    """A run with what a report needs of it; its photos may be elsewhere."""

    def __init__(self, folder, photos=True):
        self.run, self.painter = Run.open(folder), None
        self.name, self.config = self.run.folder.name, self.run.config()
        self.shots = [k for k in self.config.evaluate.shots
                      if self.run.evaluation_path(evaluation_name(k)).is_file()]
        if not self.shots:
            raise UserError(f"{folder}: not evaluated; python -m sst_tf.evaluate {folder}")
        if photos:
            with contextlib.suppress(DataError):  # the photos may be elsewhere
                self.painter = figures.Painter(self.run, self.config, self.run.model(),
                                               open_data(self.config))

    def results(self, shots):
        """The results file at k shots."""
        path = self.run.evaluation_path(evaluation_name(shots))
        return json.loads(path.read_text(encoding="utf-8"))

    def episodes(self, shots, count):
        """The first episodes of the evaluation."""
        data = self.painter.data
        return data.sampler("novel", shots, self.config.evaluate.seed).take(count)

    def extremes(self, count):
        """1-shot episodes of the evaluation with the lowest and with the highest IoU."""
        one = stored.Evaluation(self.run.folder, 1)
        inter, union = one.arrays["tuned_chosen"]
        order = np.argsort(inter / np.maximum(union, 1), kind="stable")
        photos, classes = one.arrays["photos"], one.arrays["class_ids"]

        def made(places):
            return [Episode(int(i), int(classes[i]), tuple(map(str, photos[i][1:])),
                            str(photos[i][0]), int(classes[i])) for i in places]
        return made(order[:count]), made(order[::-1][:count])


def describe(report, subjects):
    """What the runs are, and their tables."""
    report.add("## Runs")
    for one in subjects:
        results = one.results(one.shots[0])
        protocol = results["protocol"]
        report.add(f"- **{one.name}**: {one.config.model.backbone}, {protocol['dataset']}, novel "
                   f"{', '.join(map(str, protocol['novel_classes'][:8]))}; {protocol['episodes']} "
                   f"episodes of {protocol['photos']} photos at {protocol['image_size']} pixels, "
                   f"seed {protocol['seed']}; tuner steps {one.config.tuner.steps}, auxiliary loss "
                   f"{one.config.loss.auxiliary:g}; commit {results['commit'][:12]}; TensorFlow "
                   f"{results['versions'].get('tensorflow')}, Keras "
                   f"{results['versions'].get('keras')}")
    for shots in sorted({k for one in subjects for k in one.shots}):
        group = [one for one in subjects if shots in one.shots]
        report.add(f"## {shots}-shot")
        evaluations = [stored.Evaluation(one.run.folder, shots) for one in group]
        report.add(*comparison.rows(evaluations))
        for other in evaluations[1:]:
            try:
                stored.refuse_unequal([evaluations[0], other])
            except UserError as error:
                report.add(f"- Not compared: {error}")
            else:
                report.add(*(f"- {line}" for line in comparison.differences(
                    [evaluations[0], other], experiment_table.RESAMPLES)))
        report.plot(f"classes_{shots}shot", figures.bars,
                    {one.name: {name: entry["iou"] for name, entry in
                                one.results(shots)["scores"]["tuned"]["per_class"].items()}
                     for one in group}, text=f"IoU by class at 0.5, {shots}-shot")


def gauges(report, subjects):
    """What the step does, and how often absent classes are answered."""
    report.add("## The step, and classes that are not there")
    report.add("| run, 1-shot | update over features | support IoU before | after | answered with "
               "the class | without | AUC |", "|---|---|---|---|---|---|---|",
               *(_gauge(one) for one in subjects))
    report.add("The two shares and the AUC are of novel classes, at the score that base classes "
               "set; empty where the evaluation did not measure them.")


def _gauge(one):
    results = one.results(one.shots[0])
    iou, rates = results["support_iou"], (results.get("presence") or {}).get("novel")
    texts = [f"{results['gauges']['relative_update']:.3f}", f"{iou['before']:.3f}",
             f"{iou['after']:.3f}"]
    texts += ([f"{rates['answered_where_present']:.0%}", f"{rates['answered_where_absent']:.0%}",
               f"{rates['auc']:.2f}"] if rates else ["", "", ""])
    return f"| {one.name} | " + " | ".join(texts) + " |"


def curves(report, subjects):
    """Figure 6."""
    histories = {one.name: one.run.history() for one in subjects}
    columns = [c for c in ("novel_miou", "base_miou") if any(
        row.get(c) for rows in histories.values() for row in rows)]
    if columns:
        report.add("## During training (the paper's figure 6)")
    for column in columns:
        report.plot(column, figures.curves, histories, column,
                    text=f"{column.split('_')[0]} classes, mIoU at 0.5 of a few validation "
                         "episodes")


def episodes(report, subjects):
    """Figures 3 to 5, best and worst, confusion."""
    shown = [one for one in subjects if one.painter]
    for one in subjects:
        if not one.painter:
            report.add(f"{one.name}: its photos are not here, so no pictures of it.")
    if not shown:
        return
    report.add("## Before and after tuning (figure 3)")
    for one in shown:
        report.picture(f"tuning_{one.name}", one.painter.tuning(one.episodes(1, ROWS)),
                       f"{one.name}: the first {ROWS} novel episodes; the gradient is the length "
                       "of the step at each place of the support")
    _own(report, shown)
    many = [one for one in shown if max(one.shots) > 1]
    if many:
        report.add("## Several shots against each alone (figure 5)")
    for one in many:
        report.picture(f"shots_{one.name}", one.painter.shots(one.episodes(max(one.shots), 3)),
                       one.name)
    report.add("## Worst and best episodes")
    for one in (one for one in shown if 1 in one.shots):
        for words, some in zip(("worst", "best"), one.extremes(ROWS), strict=True):
            report.picture(f"{words}_{one.name}", one.painter.tuning(some),
                           f"{one.name}, {words} by IoU at the base-chosen threshold")
    report.add("## What is taken for the class")
    report.add("Share of false foreground by what lies under it, 60 novel episodes, 1-shot.")
    for one in shown:
        found = one.painter.confusion(one.episodes(1, 60))
        total = max(sum(found.values()), 1)
        top = sorted(found.items(), key=lambda item: -item[1])[:6]
        report.add(f"- {one.name}: " + ", ".join(f"{name} {n / total:.0%}" for name, n in top))


def _own(report, shown):
    """Figure 4: supports under their own masks by every run, on the first run's episodes."""
    report.add("## A support under its own mask, with and without auxiliary loss (figure 4)")
    first = shown[0]
    some = first.episodes(1, ROWS)
    same = [one for one in shown if one.config.data == first.config.data]
    photos = [drawing.overlay(e["support_image"][0, 0].numpy(), e["support_mask"][0, 0].numpy(),
                              drawing.GREEN) for e in first.painter.batches(some)]
    rows, headings = [[photo] for photo in photos], ["marked"]
    for number, one in enumerate(same, start=1):
        for row, pair in zip(rows, one.painter.own(some), strict=True):
            row += pair
        headings += [f"run {number} before", "after"]
    text = "; ".join(f"run {i}: {one.name}, auxiliary loss {one.config.loss.auxiliary:g}"
                     for i, one in enumerate(same, start=1))
    report.picture("own", drawing.sheet(rows, headings), text)
