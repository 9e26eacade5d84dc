# SPDX-License-Identifier: Apache-2.0
"""`sst compare RUN RUN ...`: results side by side, each run paired with the first."""

import json
import sys

from jsonargparse.typing import PositiveInt

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser
from sst_tf.evaluation.stored import ASKED, Evaluation, asked_otherwise, refuse_unequal
from sst_tf.reporting.comparison import differences, line_of, over_seeds, table
from sst_tf.reporting.document import Items, markdown
from sst_tf.runs.directory import Run, names_of


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst compare", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run directories; the first is the yardstick")
    parser.add_argument("--against", nargs="+", default=[], metavar="RUN",
                        help="as many run directories, of the same seeds in the same order: each "
                             "run is then compared with its own, and the mean over seeds printed")
    parser.add_argument("--shots", type=PositiveInt, help="which evaluation (default: 1)")
    parser.add_argument("--name", help="file of the evaluation, such as novel_1shot_pfenet")
    parser.add_argument("--names", nargs="+", default=[], metavar="NAME",
                        help="of one run in the place of several: these of its evaluations, such "
                             "as novel_1shot novel_1shot_views1flip; they may differ in how a "
                             "query is looked at, and in nothing else")
    parser.add_argument("--resamples", type=PositiveInt, default=2000,
                        help="bootstrap resamples of photos")
    parser.add_argument("--json", action="store_true", help="print JSON in the place of tables")
    options = parser.parse_args(argv)
    if options.shots and (options.name or options.names):
        raise UserError("--shots: an evaluation's name has them, leave out --shots")
    shots = options.shots or 1
    if options.against and len(options.against) != len(options.runs):
        raise UserError(f"{len(options.runs)} runs against {len(options.against)}: one for one is "
                        "expected, of the same seeds in the same order")
    if options.names:
        evaluations, yardsticks = _of_one_run(options), []
    else:
        folders = [*options.runs, *options.against]
        opened = [Evaluation(folder, shots, options.name) for folder in folders]
        for one, name in zip(opened, names_of(folders), strict=True):
            one.name = name
        evaluations, yardsticks = opened[:len(options.runs)], opened[len(options.runs):]
    refuse_unequal(evaluations + yardsticks, but=ASKED if options.names else ())
    for one in dict.fromkeys(options.runs + options.against):
        if so_far := Run(one).unfinished():
            print(f"note: {one}: not trained to its end, {so_far}", file=sys.stderr)
    for line in [] if options.names else asked_otherwise(evaluations + yardsticks):
        print(f"note: {line}; a difference may be of that", file=sys.stderr)
    found = list(over_seeds(evaluations, yardsticks, options.resamples) if yardsticks
                 else differences(evaluations, options.resamples))
    if options.json:
        print(json.dumps({"runs": {one.name: one.results["scores"]
                                   for one in evaluations + yardsticks}, "differences": found}))
        return
    print(markdown([table(evaluations + yardsticks), Items.of(map(line_of, found))]), end="")


def _of_one_run(options):
    if len(options.runs) > 1 or options.against or options.name:
        raise UserError("--names: evaluations of one run; leave out further runs, --against and "
                        "--name")
    evaluations = [Evaluation(options.runs[0], 1, name) for name in options.names]
    for one, name in zip(evaluations, options.names, strict=True):  # the run's would tell nothing
        one.name = name
    return evaluations


if __name__ == "__main__":
    main()
