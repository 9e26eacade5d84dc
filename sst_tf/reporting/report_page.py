# SPDX-License-Identifier: Apache-2.0
"""One page on one or several runs, as Markdown and as HTML in one file."""

import base64
from collections.abc import Callable
from pathlib import Path

import jinja2
import numpy as np

from pipelines.errors import DataError, UserError
from pipelines.sampler import Episode, load_episodes
from pipelines.writing import write_text
from sst_tf.data.run_data import open_data
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation import stored
from sst_tf.experiments.summary import RESAMPLES
from sst_tf.reporting import comparison, document, drawing, figures
from sst_tf.reporting.document import Heading, Items, Paragraph, Picture, Table
from sst_tf.runs.directory import Run

ROWS = 4  # of episodes in a picture
NO_PHOTOS = "its photos are not here, so no pictures of it"


class Report:
    """A page in the making.

    Args:
        output: its folder.

    Attributes:
        parts: what stands on it.
    """

    def __init__(self, output: str | Path):
        self.output, self.parts = Path(output), []

    def add(self, *parts: document.Part) -> None:
        """Put parts at the end."""
        self.parts += parts

    def picture(self, name: str, pixels: np.ndarray, text: str) -> None:
        """An RGB picture [H, W, 3] with what is to be seen in it."""
        drawing.save(self.output / "figures" / f"{name}.jpg", pixels)
        self.add(Picture(f"figures/{name}.jpg", text))

    def plot(self, name: str, draw: Callable, *arguments: object, text: str) -> None:
        """A plot that `draw(path, *arguments)` leaves as a PNG."""
        draw(self.output / "figures" / f"{name}.png", *arguments)
        self.add(Picture(f"figures/{name}.png", text))

    def write(self, title: str) -> Path:
        """report.md, and report.html with its pictures inside; returns the latter's path."""
        write_text(self.output / "report.md",
                   document.markdown([Heading(title, 1), *self.parts]))
        templates = jinja2.Environment(loader=jinja2.PackageLoader("sst_tf.reporting"),
                                       autoescape=True, undefined=jinja2.StrictUndefined)
        write_text(self.output / "report.html", templates.get_template("report.html").render(
            title=title, parts=self.parts, data_of=self._data))
        return self.output / "report.html"

    def _data(self, path):
        kind = {".png": "png", ".jpg": "jpeg"}[Path(path).suffix]
        return f"data:image/{kind};base64," + base64.b64encode(
            (self.output / path).read_bytes()).decode()


class Subject:
    """A run with what a report needs of it; its photos may be elsewhere.

    Args:
        folder: of the run.
        photos: whether pictures may show photos.
        side: of a photo in the pictures, pixels.
        name: what the page calls it; the folder's by default.

    Attributes:
        away: why no photo of it can be shown though photos may be, with the remedy; None else.
    """

    def __init__(self, folder: str | Path, photos: bool = True, side: int = drawing.SIDE,
                 name: str | None = None):
        # Results outlive the model's file.
        recorded = Run(folder).recorded() and not photos
        self.run, self.painter = Run(folder) if recorded else Run.open(folder), None
        self.away: str | None = None
        self.name, self.config = name or self.run.folder.name, self.run.config()
        self.file = self.name.replace("/", "-")
        self.ways = self.config.evaluate.ways
        self.shots = [k for k in self.config.evaluate.shots
                      if stored.own_results(self.run, k)]
        if self.config.data.novel_classes == []:
            raise UserError(f"{folder}: trained on all classes (data.novel_classes []), so it has "
                            "no results of unseen ones; give a run that left some out")
        if not self.shots:
            raise UserError(f"{folder}: not evaluated under its own protocol; "
                            f"sst evaluate {folder}")
        if photos:
            try:
                self.painter = figures.Painter(self.run, self.config, self.run.model(),
                                               open_data(self.config), side)
            except DataError as error:  # the photos may be elsewhere
                self.away = f"{self.name}: {NO_PHOTOS}: {error}{self._remedy()}"

    def _remedy(self):
        root = self.config.data.root
        if root is None or Path(root).is_dir():
            return ""
        change = f"change data.root in {self.run.folder / 'config.yaml'}"
        if Path(root).is_absolute():
            return f"; {change}"
        return f"; run this in the folder where data.root begins, or {change}"

    def drawn(self) -> figures.Painter:
        """What draws the run's answers.

        Raises:
            DataError: the photos are elsewhere.
        """
        if self.painter is None:
            raise DataError(f"{self.run.folder}: {NO_PHOTOS}")
        return self.painter

    def evaluation(self, shots: int) -> stored.Evaluation:
        """Of k shots under the run's own protocol, under the name that the page calls it by."""
        found = stored.Evaluation(self.run.folder, shots)
        found.name = self.name
        return found

    def results(self, shots: int) -> dict:
        """What the results file of k shots holds."""
        return self.evaluation(shots).results

    def episodes(self, shots: int, count: int) -> list[Episode]:
        """The first episodes of the evaluation, of one way.

        Drawn anew where it has several ways, or none of this number of shots.
        """
        if shots in self.shots and self.ways == 1:
            return self._scored(shots)[:count]
        data = self.drawn().data
        return data.sampler("novel", shots, evaluation_seed(self.config.evaluate.seed)).take(count)

    def extremes(self, count: int) -> tuple[list[Episode], list[Episode]]:
        """1-shot episodes of the evaluation with the lowest and with the highest IoU."""
        inter, union = self.evaluation(1).arrays["tuned_chosen"]
        order = np.argsort(inter / np.maximum(union, 1), kind="stable")
        some = self._scored(1)
        return [some[i] for i in order[:count]], [some[i] for i in order[::-1][:count]]

    def _scored(self, shots):
        """All episodes of the evaluation."""
        return load_episodes(self.run.evaluation_path(f"novel_{shots}shot").with_suffix(".jsonl"))


def describe(report: Report, subjects: list[Subject]) -> None:
    """What the runs are, and their tables."""
    report.add(Heading("Runs"), Items([(one.name, _facts(one)) for one in subjects]))
    for shots in sorted({k for one in subjects for k in one.shots}):
        group = [one for one in subjects if shots in one.shots]
        report.add(Heading(f"{shots}-shot"))
        evaluations = [one.evaluation(shots) for one in group]
        report.add(comparison.table(evaluations))
        lines = []
        for other in evaluations[1:]:
            try:
                stored.refuse_unequal([evaluations[0], other])
            except UserError as error:
                lines.append(f"Not compared: {error}")
            else:
                lines += map(comparison.line_of,
                             comparison.differences([evaluations[0], other], RESAMPLES))
        if lines:
            report.add(Items.of(lines))
        report.plot(f"classes_{shots}shot", figures.bars,
                    {one.name: {name: entry["iou"] for name, entry in
                                one.results(shots)["scores"]["tuned"]["per_class"].items()}
                     for one in group}, text=f"IoU by class at 0.5, {shots}-shot")


def _facts(one):
    results = one.results(one.shots[0])
    protocol, versions = results["protocol"], results["versions"]
    told_of = "".join(f"; {words}" for words in stored.reservations(results))
    return (f"{one.config.model.method}, {one.config.model.backbone}, {protocol['dataset']}, novel "
            f"{', '.join(map(str, protocol['novel_classes'][:8]))}; {protocol['episodes']} "
            f"{f'{one.ways}-way ' if one.ways > 1 else ''}episodes of {protocol['photos']} photos "
            f"at {protocol['image_size']} pixels, "
            f"seed {protocol['seed']}; trained with seed {one.config.train.seed}; tuner steps "
            f"{one.config.tuner.steps}, auxiliary loss {one.config.loss.auxiliary:g}; commit "
            f"{results['commit'][:16]}; TensorFlow {versions.get('tensorflow')}, Keras "
            f"{versions.get('keras')}{told_of}")


def gauges(report: Report, subjects: list[Subject]) -> None:
    """What the step does, and how often absent classes are answered."""
    report.add(Heading("The step, and classes that are not there"),
               Table(("run", "update over features", "support IoU before", "after",
                      "answered with the class", "without", "AUC"),
                     [_gauge(one) for one in subjects]),
               Paragraph("The two shares and the AUC are of novel classes, at the score that base "
                         "classes set; empty where the evaluation did not measure them."))


def _gauge(one):
    shots = one.shots[0]
    results = one.results(shots)
    iou, rates = results["support_iou"], (results.get("presence") or {}).get("novel")
    texts = [f"{one.name}, {shots}-shot", f"{results['gauges']['relative_update']:.3f}",
             f"{iou['before']:.3f}", f"{iou['after']:.3f}"]
    return texts + ([f"{rates['answered_where_present']:.0%}",
                     f"{rates['answered_where_absent']:.0%}", f"{rates['auc']:.2f}"]
                    if rates else ["", "", ""])


def curves(report: Report, subjects: list[Subject]) -> None:
    """Figure 6."""
    histories = {one.name: one.run.history() for one in subjects}
    columns = [c for c in ("novel_miou", "base_miou") if any(
        row.get(c) for rows in histories.values() for row in rows)]
    if columns:
        report.add(Heading("During training (the paper's figure 6)"))
    for column in columns:
        report.plot(column, figures.curves, histories, column,
                    text=f"{column.split('_')[0]} classes, mIoU at 0.5 of a few validation "
                         "episodes")


def episodes(report: Report, subjects: list[Subject], credit: str | None = None) -> None:
    """Figures 3 to 5, best and worst, confusion.

    Args:
        credit: where the photos come from, in words.
    """
    shown = [one for one in subjects if one.painter]
    for one in subjects:
        if not one.painter:
            report.add(Paragraph(f"{one.name}: {NO_PHOTOS}."))
    if not shown:
        return
    if credit:
        report.add(Paragraph(credit))
    for one in (one for one in shown if one.ways > 1):
        report.add(Paragraph(f"{one.name}: scored with {one.ways} classes at a time; its pictures "
                             "ask for one class each."))
    report.add(Heading("Before and after tuning (figure 3)"))
    for one in shown:
        report.picture(f"tuning_{one.file}", one.drawn().tuning(one.episodes(1, ROWS)),
                       f"{one.name}: the first {ROWS} novel episodes; the gradient is the length "
                       "of the step at each place of the support")
    _own(report, shown)
    many = [one for one in shown if max(one.shots) > 1]
    if many:
        report.add(Heading("Several shots against each alone (figure 5)"))
    for one in many:
        report.picture(f"shots_{one.file}", one.drawn().shots(one.episodes(max(one.shots), 3)),
                       one.name)
    ranked = [one for one in shown if 1 in one.shots and one.ways == 1]
    if ranked:
        report.add(Heading("Worst and best episodes"))
    for one in ranked:
        for words, some in zip(("worst", "best"), one.extremes(ROWS), strict=True):
            report.picture(f"{words}_{one.file}", one.drawn().tuning(some),
                           f"{one.name}, {words} by IoU at the base-chosen threshold")
    report.add(Heading("What is taken for the class"),
               Paragraph("Share of false foreground by what lies under it, the first 60 novel "
                         "episodes, 1-shot."),
               Items([(one.name, _taken_for_the_class(one)) for one in shown]))


def _taken_for_the_class(one):
    found = one.drawn().confusion(one.episodes(1, 60))
    total = max(sum(found.values()), 1)
    top = sorted(found.items(), key=lambda item: -item[1])[:6]
    return ", ".join(f"{name} {n / total:.0%}" for name, n in top)


def _own(report, shown):
    """Figure 4: supports under their own masks by every run, on the first run's episodes."""
    first = shown[0]
    some = first.episodes(1, ROWS)
    same = [one for one in shown if one.config.data == first.config.data]
    both = len({one.config.loss.auxiliary > 0 for one in same}) == 2  # what figure 4 compares
    report.add(Heading("A support under its own mask"
                       + (", with and without auxiliary loss (figure 4)" if both else "")))
    if not both:
        report.add(Paragraph("The paper's figure 4 compares models trained with the auxiliary loss "
                             "and without it; this page has one kind alone."))
    photos = [drawing.overlay(e["support_image"][0, 0].numpy(), e["support_mask"][0, 0].numpy(),
                              drawing.GREEN) for e in first.drawn().batches(some)]
    rows, headings = [[photo] for photo in photos], ["marked"]
    for number, one in enumerate(same, start=1):
        for row, pair in zip(rows, one.drawn().own(some), strict=True):
            row += pair
        headings += [f"run {number} before", "after"]
    text = "; ".join(f"run {i}: {one.name}, auxiliary loss {one.config.loss.auxiliary:g}"
                     for i, one in enumerate(same, start=1))
    report.picture("own", drawing.sheet(rows, headings, side=first.drawn().side), text)
