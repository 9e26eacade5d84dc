# SPDX-License-Identifier: Apache-2.0
"""`sst report RUN [RUN ...] --output report/`: one page on one or several runs.

Writes report.md with its pictures in figures/, and the same as report.html in one file that needs
nothing else: tables with intervals, paired differences, the paper's figures 3 to 6 from these runs,
IoU by class, best and worst episodes, what the step does, what is taken for the class.
"""

import sys
from pathlib import Path

from jsonargparse.typing import PositiveInt

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser, packaged
from sst_tf.experiments.grid import Experiment
from sst_tf.reporting import experiment_table
from sst_tf.reporting.drawing import SIDE
from sst_tf.reporting.generated import refresh
from sst_tf.runs.directory import names_of


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst report", description=__doc__)
    parser.add_argument("runs", nargs="*",
                        help="run directories; the first is the yardstick; none with --tables, or "
                             "with --experiment alone")
    parser.add_argument("--output", default="report", help="folder of the page")
    parser.add_argument("--experiment", nargs="+", default=[],
                        help="experiment files (or names of packaged ones) whose tables open"
                             " the page")
    parser.add_argument("--profile", default="paper", help="of the experiment files")
    parser.add_argument("--experiment_runs", default="runs/experiments",
                        help="where their runs lie")
    parser.add_argument("--without_photos", action="store_true",
                        help="numbers and plots alone, where photos must not be passed on")
    parser.add_argument("--side", type=PositiveInt, default=SIDE,
                        help="of a photo in the pictures, pixels; small ones may be shown where "
                             "large ones may not")
    parser.add_argument("--credit", help="said above the pictures: whose photos they are")
    parser.add_argument("--tables", metavar="PAGE",
                        help="instead of a page of its own: write the tables of this Markdown page "
                             "anew, between its <!-- results: NAME --> and <!-- end -->")
    parser.add_argument("--results", default="docs/results",
                        help="where --tables finds NAME.json, as sst experiment --output writes")
    parser.add_argument("--title", default="Few-shot segmentation: report")
    options = parser.parse_args(argv)
    if options.tables:
        if options.runs or options.experiment:
            raise UserError("--tables writes a page's tables anew and no page of runs; leave out "
                            + ("the run directories" if options.runs else "--experiment"))
        if not Path(options.tables).is_file():
            raise UserError(f"--tables {options.tables}: no such page")
        names = refresh(options.tables, options.results)
        print(f"{options.tables}: {len(names)} blocks from {options.results}: {', '.join(names)}")
        return
    if not options.runs and not options.experiment:
        raise UserError("give run directories or --experiment files")
    if options.without_photos:
        _refuse_photos(Path(options.output) / "figures")
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from sst_tf.reporting.report_page import Report, Subject, curves, describe, episodes, gauges

    report = Report(options.output)
    for path in options.experiment:
        experiment = Experiment.read(packaged.find(path, "experiments"), options.profile)
        cells = experiment.cells(options.experiment_runs)
        there = [cell for cell in cells if not cell.missing()]
        if len(there) < len(cells):
            print(f"note: {path}: {len(there)} of {len(cells)} runs of --profile {options.profile} "
                  "are there; the page leaves the others out", file=sys.stderr)
        if there:
            report.add(*experiment_table.parts(experiment, there))
    if not options.runs and not report.parts:
        raise UserError(f"--experiment_runs {options.experiment_runs}: has no run of these "
                        f"experiments; sst experiment {' '.join(options.experiment)} --profile "
                        f"{options.profile} makes them")
    subjects = [Subject(folder, not options.without_photos, options.side, name)
                for folder, name in zip(options.runs, names_of(options.runs), strict=True)]
    for one in subjects:
        if one.away:
            print(f"note: {one.away}", file=sys.stderr)
    if subjects:
        for part in (describe, gauges, curves):
            part(report, subjects)
        if not options.without_photos:
            episodes(report, subjects, options.credit)
    print(f"written to {report.write(options.title)}")


def _refuse_photos(figures):
    """A folder that is passed on without photos has none of an earlier page either."""
    if left := sorted(figures.glob("*.jpg")):
        raise UserError(f"{figures}: {len(left)} pictures of photos that an earlier page left "
                        f"({left[0].name} ...); remove them, or give another --output")


if __name__ == "__main__":
    main()
