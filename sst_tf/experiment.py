# SPDX-License-Identifier: Apache-2.0
"""`python -m sst_tf.experiment FILE`: the grid of runs behind a table, and the table.

A file names rows (switches), folds, seeds and shots; every cell is a training with its evaluations.
Runs are kept under a key of their resolved configuration, so that tables share trainings, a killed
grid goes on where it was, and a failed run costs none of the others.
"""

import sys
from pathlib import Path

from pipelines.commands import command
from pipelines.errors import UserError
from pipelines.writing import write_text
from sst_tf import config as configuration
from sst_tf.config import packaged
from sst_tf.experiments.grid import Experiment
from sst_tf.experiments.runner import run_all
from sst_tf.reporting import experiment_table


@command
def main(argv: list[str] | None = None) -> None:
    parser = configuration.ArgumentParser(prog="python -m sst_tf.experiment", description=__doc__)
    parser.add_argument("file", help="experiment file, or the name of a packaged one, such "
                                     "as table1")
    parser.add_argument("--profile", default="paper",
                        help="paper: the published setting (GPU, full data); mini: small data on "
                             "two cores")
    parser.add_argument("--runs", default="runs/experiments", help="folder of all runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--rows", nargs="+", help="these rows only")
    parser.add_argument("--folds", nargs="+", help="these folds only")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds in place of the file's")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE",
                        help="overrides for every run, such as data.root=VOCdevkit")
    parser.add_argument("--dry_run", action="store_true", help="list the runs, train none")
    options = parser.parse_args(argv)
    experiment = Experiment.read(packaged.find(options.file, "experiments"),
                                 options.profile)
    for name in ("rows", "folds"):
        if chosen := getattr(options, name):
            known = getattr(experiment, name)
            if unknown := set(chosen) - set(known):
                raise UserError(f"--{name}: {', '.join(sorted(unknown))}; known: "
                                f"{', '.join(known)}")
            setattr(experiment, name, {key: known[key] for key in known if key in chosen})
    experiment.seeds = options.seeds or experiment.seeds
    extra = []
    for pair in options.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set: {pair!r}; KEY=VALUE is expected, such as data.root=VOCdevkit")
        extra += [f"--{key}", value]
    cells = experiment.cells(options.runs, extra)
    print(f"{experiment.title}\n{len(cells)} cells, {len({c.folder for c in cells})} trainings; "
          f"expect: {experiment.expect}")
    if options.dry_run:
        for cell in cells:
            print(f"{cell.folder} {'missing' if cell.missing() else 'there  '} {cell.row}, fold "
                  f"{cell.fold}, seed {cell.seed}: {' '.join(cell.arguments)}")
        return
    failed = run_all(experiment, cells, max(1, options.jobs))
    there = [cell for cell in cells if not cell.missing()]
    text = experiment_table.markdown(experiment, there)
    path = Path(options.runs) / f"{experiment.name}.md"
    write_text(path, text)
    print(f"\n{text}\nwritten to {path}")
    if failed:
        print(f"{len(failed)} run(s) failed:\n" + "\n".join(failed.values()), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
