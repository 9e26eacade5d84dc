# SPDX-License-Identifier: Apache-2.0
"""`sst experiment FILE [FILE ...]`: the grids of runs behind tables, and the tables.

A file names rows (switches), folds, seeds and shots; every cell is a training with its evaluations.
Runs are kept under a key of their resolved configuration, so that tables share trainings, a killed
grid goes on where it was, and a failed run costs none of the others.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from jsonargparse.typing import PositiveInt

from pipelines.commands import command
from pipelines.errors import UserError
from pipelines.writing import write_json, write_text
from sst_tf import config as configuration
from sst_tf.config import packaged
from sst_tf.experiments.executors import Here
from sst_tf.experiments.grid import Experiment
from sst_tf.experiments.kept import keep, kept_cell, restore
from sst_tf.experiments.runner import run_all
from sst_tf.experiments.summary import summary
from sst_tf.reporting import document, experiment_table


@command
def main(argv: list[str] | None = None) -> None:
    parser = configuration.ArgumentParser(prog="sst experiment", description=__doc__)
    parser.add_argument("files", nargs="+", help="experiment files, or the names of packaged ones, "
                                                 "such as table1; one after the other")
    parser.add_argument("--profile", default="paper",
                        help="paper: the published setting (GPU, full data); real: PASCAL-5i on "
                             "two cores; mini: small data on two cores")
    parser.add_argument("--runs", default="runs/experiments", help="folder of all runs")
    parser.add_argument("--output", help="folder of the tables (.md) and what they show (.json), "
                                         "which may be kept; by default that of the runs")
    parser.add_argument("--keep", help="folder where the results of all runs are kept, without "
                                       "their weights; what is kept there is not run again")
    parser.add_argument("--jobs", type=PositiveInt, default=1,
                        help="runs at a time, each a process with its share of the cores")
    parser.add_argument("--executor", choices=["here", "ray"], default="here",
                        help="ray: runs go to Ray's machines, which must see one file system "
                             "(extra `batch`); each takes as many cores as --jobs leaves it here")
    parser.add_argument("--address", help="of a Ray cluster, such as auto; without it Ray runs on "
                                          "this machine alone")
    parser.add_argument("--gpus", type=float, default=0, help="of each run on Ray")
    parser.add_argument("--rows", nargs="+", help="run these rows only; the tables show all runs "
                                                  "that are there")
    parser.add_argument("--folds", nargs="+", help="run these folds only")
    parser.add_argument("--seeds", type=int, nargs="+",
                        help="run these seeds, in place of the file's")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE",
                        help="overrides for every run, such as data.root=VOCdevkit")
    parser.add_argument("--dry_run", action="store_true", help="list the runs, train none")
    parser.add_argument("--tabulate", action="store_true",
                        help="the tables of the runs that are there; train none")
    options = parser.parse_args(argv)
    if options.executor == "here" and (options.address or options.gpus):
        raise UserError("--address and --gpus belong to --executor ray")
    extra = _overrides(options.set)
    grids = []
    for name in options.files:  # all are checked before anything runs
        experiment = Experiment.read(packaged.find(name, "experiments"), options.profile)
        experiment.add_seeds(options.seeds or [])
        cells = experiment.cells(options.runs, extra)
        grids.append((experiment, cells, _chosen(experiment, cells, options)))
        if options.keep and not options.dry_run:
            restore(cells, Path(options.keep))
    for experiment, _, chosen in grids:
        print(f"{experiment.title}\n{len(chosen)} cells, {len({c.folder for c in chosen})} "
              f"trainings; expect: {experiment.expect}")
        if options.dry_run:
            _list(chosen, options.keep)
    if options.dry_run:
        return
    signal.signal(signal.SIGTERM, _stop)
    cells = [cell for _, some, _ in grids for cell in some]
    keeper = _keeper(cells, options)
    failed = {} if options.tabulate else _run(
        [cell for _, _, some in grids for cell in some], cells, keeper, options)
    for experiment, some, _ in grids:
        _tabulate(experiment, some, Path(options.output or options.runs))
    if failed:
        print(f"{len(failed)} run(s) failed:\n" + "\n".join(failed.values()), file=sys.stderr)
        sys.exit(1)


def _list(chosen, keep):
    """Print what would run, and what would not."""
    for cell in chosen:
        there = not cell.missing() or keep and not kept_cell(cell, Path(keep)).missing()
        print(f"{cell.folder} {'there  ' if there else 'missing'} {cell.row}, "
              f"fold {cell.fold}, seed {cell.seed}: {' '.join(cell.arguments)}")


def _run(chosen, cells, keeper, options):
    """Train and evaluate what is missing of `chosen`; {folder: reason} of what failed."""
    # TensorFlow takes seconds to import, which --help need not wait for.
    from sst_tf.experiments.photos import refuse_other_photos

    refuse_other_photos(chosen)
    with _executor(options) as executor:
        return run_all(chosen, executor, done=keeper, others=cells)


@contextlib.contextmanager
def _executor(options):
    """Where runs go."""
    cores, jobs = os.cpu_count() or 1, options.jobs
    if options.executor == "here":
        yield Here(jobs)
    else:
        from sst_tf.experiments.on_ray import OnRay  # its package comes with the extra `batch`
        from sst_tf.runs.ray_cluster import cluster

        with cluster(options.address, cores):
            yield OnRay(max(1, cores // jobs), options.gpus)


def _tabulate(experiment, cells, folder):
    """Print and write the tables of the cells that are there."""
    there = [cell for cell in cells if not cell.missing()]
    if len(there) < len(cells):
        print(f"{len(there)} of {len(cells)} cells are there; the tables leave the others out")
    found = summary(experiment, there)
    text = document.markdown(experiment_table.parts_of(found))
    path = folder / experiment.name
    write_json(f"{path}.json", found)
    write_text(f"{path}.md", text)
    print(f"\n{text}\nwritten to {path}.md and {path}.json")


def _chosen(experiment, cells, options):
    """The cells of the rows, folds and seeds that were asked for."""
    for name in ("rows", "folds"):
        known = getattr(experiment, name)
        if unknown := set(getattr(options, name) or ()) - set(known):
            raise UserError(f"--{name}: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return [cell for cell in cells
            if (options.rows is None or cell.row in options.rows)
            and (options.folds is None or cell.fold in options.folds)
            and (options.seeds is None or cell.seed in options.seeds)]


def _keeper(cells, options):
    """What keeps the results of finished cells; those that are there already are kept at once."""
    if not options.keep:
        return None
    keep(cells, Path(options.keep))
    return lambda finished: keep(finished, Path(options.keep))


def _overrides(pairs):
    """KEY=VALUE pairs in the command line's form."""
    found = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set: {pair!r}; KEY=VALUE is expected, such as data.root=VOCdevkit")
        found += [f"--{key}", value]
    return found


def _stop(number, frame):
    """A polite kill stops the trainings too, as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
